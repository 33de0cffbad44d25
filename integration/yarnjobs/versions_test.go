package yarnjobs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairway/integration/hadoop"
)

// Clients of other versions bring their own jars into the containers.
func TestOtherVersions(t *testing.T) {
	long(t)
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
			if err := in.ClientConf(conf, world.dfs, more); err != nil {
				t.Fatal(err)
			}
			body, want := text(20_000)
			in2, out := home(withAccount, "v"+version), home(withAccount, "v"+version+"-out")
			put(t, withAccount, in2+"/in.txt", body)
			res, err := in.Client(conf, withAccount).RunJob(ctx, world.in.ExamplesJar(), "wordcount", in2, out)
			if err != nil {
				logs, _ := r.client(withAccount).Java(ctx, cliPackage+"LogsCLI", "-applicationId", res.Application)
				t.Fatalf("%v\n%s\n%s\n%s", err, res.Output, logs, r.Logs())
			}
			checkCounts(t, out, want)
			text, err := in.Client(conf, withAccount).Java(ctx, cliPackage+"ApplicationCLI", "application", "-status", res.Application)
			if err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}
