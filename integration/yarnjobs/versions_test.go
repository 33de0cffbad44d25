package yarnjobs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairway/integration/hadoop"
	"fairway/integration/testbed"
)

// Clients of other versions bring their own jars into the containers.
func TestOtherVersions(t *testing.T) {
	testbed.Long(t)
	for version, more := range map[string]map[string]string{
		// 3.3's ApplicationMaster does not know that JDK 17 needs it.
		"3.3.6": {"yarn.app.mapreduce.am.command-opts": "--add-opens java.base/java.lang=ALL-UNNAMED -Xmx1024m"},
		"3.5.0": {},
	} {
		t.Run(version, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			in, err := hadoop.FetchClient(ctx, "", version, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := world.rig
			conf := filepath.Join(t.TempDir(), "conf")
			if err := os.Chmod(filepath.Dir(conf), 0o755); err != nil {
				t.Fatal(err)
			}
			for k, v := range r.addresses {
				more[k] = v
			}
			if err := in.ClientConf(conf, world.DFS, more); err != nil {
				t.Fatal(err)
			}
			body, want := text(20_000)
			in2, out := home(testbed.WithAccount, "v"+version), home(testbed.WithAccount, "v"+version+"-out")
			world.Put(t, testbed.WithAccount, in2+"/in.txt", body)
			res, err := in.Client(conf, testbed.WithAccount).RunJob(ctx, world.In.ExamplesJar(), "wordcount", in2, out)
			if err != nil {
				logs, _ := r.client(testbed.WithAccount).Java(ctx, cliPackage+"LogsCLI", "-applicationId", res.Application)
				t.Fatalf("%v\n%s\n%s\n%s", err, res.Output, logs, r.Logs())
			}
			checkCounts(t, out, want)
			text, err := in.Client(conf, testbed.WithAccount).Java(ctx, cliPackage+"ApplicationCLI", "application", "-status", res.Application)
			if err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}
