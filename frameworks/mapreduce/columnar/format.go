package columnar

// Format of a columnar file.
type Format string

// Formats of files.
const (
	Parquet Format = "parquet"
	// Arrow is the IPC file format ("Feather V2"), with a footer; files that hold an IPC stream are read too.
	Arrow Format = "arrow"
)
