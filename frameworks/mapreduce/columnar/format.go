package columnar

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/parquet/compress"
)

// Format of a columnar file.
type Format string

// Formats of files.
const (
	Parquet Format = "parquet"
	// Arrow is the IPC file format ("Feather V2"), with a footer; files that hold an IPC stream are read too, but not
	// cut.
	Arrow Format = "arrow"
)

// Properties. The types are utf8 (default), binary, int64 or float64.
const (
	// LineTypeProperty is the type of the column line that a mapper gets from text: utf8 or binary.
	LineTypeProperty = "fairway.arrow.line.type"
	// KeyTypeProperty and ValueTypeProperty are the types of the columns key and value that programs get.
	KeyTypeProperty   = "fairway.arrow.key.type"
	ValueTypeProperty = "fairway.arrow.value.type"
	// OutputKeyTypeProperty and OutputValueTypeProperty are those of output files.
	OutputKeyTypeProperty   = "fairway.output.key.type"
	OutputValueTypeProperty = "fairway.output.value.type"
	// ParquetCompressionProperty is snappy (default), gzip, zstd or uncompressed.
	ParquetCompressionProperty = "parquet.compression"
	// ArrowCompressionProperty is none (default), lz4 or zstd.
	ArrowCompressionProperty = "fairway.output.arrow.compression"
)

// Bounds of a batch that this package makes: whichever comes first. 64 Ki rows suit Arrow's kernels, and the bytes keep
// long lines from making a batch of gigabytes.
const (
	batchRows  = 64 << 10
	batchBytes = 8 << 20
)

// Columns are the types of a pair of columns.
type Columns struct{ Key, Value arrow.DataType }

func columnsOf(conf map[string]string, key, value string) (Columns, error) {
	k, err := typeOf(conf, key)
	if err != nil {
		return Columns{}, err
	}
	v, err := typeOf(conf, value)
	return Columns{k, v}, err
}

// ProgramColumns returns the types of the columns that programs get.
func ProgramColumns(conf map[string]string) (Columns, error) {
	return columnsOf(conf, KeyTypeProperty, ValueTypeProperty)
}

func typeOf(conf map[string]string, property string) (arrow.DataType, error) {
	switch s := conf[property]; s {
	case "", "utf8":
		return arrow.BinaryTypes.String, nil
	case "binary":
		return arrow.BinaryTypes.Binary, nil
	case "int64":
		return arrow.PrimitiveTypes.Int64, nil
	case "float64":
		return arrow.PrimitiveTypes.Float64, nil
	default:
		return nil, fmt.Errorf("property %s=%q: use utf8, binary, int64 or float64", property, s)
	}
}

// CheckPrograms tells at submission whether the properties of columns for programs make sense.
func CheckPrograms(conf map[string]string) error {
	if _, err := ProgramColumns(conf); err != nil {
		return err
	}
	_, err := LineBinary(conf)
	return err
}

// LineBinary tells whether the column line is binary, not utf8.
func LineBinary(conf map[string]string) (bool, error) {
	t, err := typeOf(conf, LineTypeProperty)
	if err != nil || !(t == arrow.BinaryTypes.String || t == arrow.BinaryTypes.Binary) {
		return false, fmt.Errorf("property %s=%q: use utf8 or binary", LineTypeProperty, conf[LineTypeProperty])
	}
	return t == arrow.BinaryTypes.Binary, nil
}

// CheckFile tells whether CreateFile understands the properties.
func CheckFile(format Format, conf map[string]string) error {
	if _, err := columnsOf(conf, OutputKeyTypeProperty, OutputValueTypeProperty); err != nil {
		return err
	}
	if format == Parquet {
		_, err := parquetCompression(conf)
		return err
	}
	_, err := arrowCompression(conf)
	return err
}

func parquetCompression(conf map[string]string) (compress.Compression, error) {
	switch s := strings.ToLower(conf[ParquetCompressionProperty]); s {
	case "", "snappy":
		return compress.Codecs.Snappy, nil
	case "gzip":
		return compress.Codecs.Gzip, nil
	case "zstd":
		return compress.Codecs.Zstd, nil
	case "uncompressed", "none":
		return compress.Codecs.Uncompressed, nil
	default:
		return 0, fmt.Errorf("property %s=%q: use snappy, gzip, zstd or uncompressed", ParquetCompressionProperty, s)
	}
}

func arrowCompression(conf map[string]string) ([]ipc.Option, error) {
	switch s := strings.ToLower(conf[ArrowCompressionProperty]); s {
	case "", "none":
		return nil, nil
	case "lz4":
		return []ipc.Option{ipc.WithLZ4()}, nil
	case "zstd":
		return []ipc.Option{ipc.WithZstd()}, nil
	default:
		return nil, fmt.Errorf("property %s=%q: use none, lz4 or zstd", ArrowCompressionProperty, s)
	}
}
