package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// settings returns what a file of lines NAME=VALUE says.
func settings(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, "standalone", name))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, is := strings.Cut(strings.TrimSpace(line), "="); is && !strings.HasPrefix(name, "#") {
			found[name] = strings.Trim(value, `"`)
		}
	}
	return found
}

// The service of systemd, as far as this can be had without systemd: its command lines with the environment file, its
// capabilities and its manifests.
func TestStandalone(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, topology.Options{})
	p := &pod{cluster: c}
	unit, options := settings(t, "kube-ipvs-proxy.service"), settings(t, "environment")["OPTIONS"]
	services, err := filepath.Abs(filepath.Join(manifests, "standalone/services"))
	if err != nil {
		t.Fatal(err)
	}
	of := func(setting string) container {
		line := strings.ReplaceAll(strings.TrimPrefix(unit[setting], "+"), "$OPTIONS", options)
		command := strings.Fields(line)
		if len(command) < 2 || command[0] != "/usr/local/bin/kube-ipvs-proxy" {
			t.Fatalf("%s=%s is not what this test knows", setting, unit[setting])
		}
		command[0] = entrypoint
		// The limit is the whole machine's, and a node here is not.
		command = append(command, "--conntrack-max-per-core=0", "--hostname-override="+c.NodeName(c.Node))
		return container{Scratch: t.TempDir(), Image: image(t), Command: command, Privileged: setting == "ExecStartPre",
			Volumes: []volume{{services, "/etc/kube-ipvs-proxy/services", true}}, Env: []string{"PATH=/usr/sbin:/usr/bin"}}
	}
	if status := p.start(t, of("ExecStartPre")).status(t); status != 0 {
		t.Fatalf("ExecStartPre ended with status %d", status)
	}
	locked := of("ExecStart")
	locked.NoNewPrivs = unit["NoNewPrivileges"] == "true"
	for capability := range strings.FieldsSeq(unit["CapabilityBoundingSet"]) {
		locked.Capabilities = append(locked.Capabilities, strings.TrimPrefix(capability, "CAP_"))
	}
	daemon := p.start(t, locked)
	daemon.says(t, served)
	cluster.Await(t, "the Service of the manifest", func() error {
		table := cluster.Run(t, c.Node.Netns, "ipvsadm", "-Sn")
		for _, want := range []string{"-A -t 10.96.0.80:80 -s rr\n", "-a -t 10.96.0.80:80 -r 192.0.2.10:8080 -m -w 1\n",
			fmt.Sprintf("-A -t %s:30080 -s rr\n", c.Node.Address(topology.IPv4))} {
			if !strings.Contains(table, want) {
				return fmt.Errorf("the table lacks %q:\n%s", want, table)
			}
		}
		return nil
	})
	daemon.stop(t)
}
