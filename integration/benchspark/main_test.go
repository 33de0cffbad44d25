package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	b := &bench{events: t.TempDir()}
	log := `{"Event":"SparkListenerApplicationStart","App ID":"a"}
{"Event":"SparkListenerTaskEnd","Stage ID":0,"Task Info":{"Launch Time":2000,"Finish Time":3000,"Locality":"NODE_LOCAL"},"Task Metrics":{"Input Metrics":{"Bytes Read":10}}}
{"Event":"SparkListenerTaskEnd","Stage ID":0,"Task Info":{"Launch Time":1500,"Finish Time":3000,"Locality":"RACK_LOCAL"},"Task Metrics":{"Input Metrics":{"Bytes Read":10}}}
{"Event":"SparkListenerTaskEnd","Stage ID":1,"Task Info":{"Launch Time":4000,"Finish Time":5000,"Locality":"ANY"},"Task Metrics":{"Shuffle Read Metrics":{"Remote Bytes Read":20000000,"Local Bytes Read":0}}}
{"Event":"SparkListenerTaskEnd","Stage ID":1,"Task Info":{"Launch Time":4500,"Finish Time":6000,"Locality":"ANY"},"Task Metrics":{"Shuffle Read Metrics":{"Remote Bytes Read":10000000,"Local Bytes Read":10000000}}}
{"Event":"SparkListenerTa`
	if err := os.WriteFile(filepath.Join(b.events, "a"), []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := b.read("a")
	if err != nil {
		t.Fatal(err)
	}
	if e.readers != 2 || e.local != 1 || !e.first.Equal(time.UnixMilli(1500)) || e.rate() != 20 {
		t.Errorf("%d of %d local, first at %v, %v MB/s", e.local, e.readers, e.first, e.rate())
	}
}
