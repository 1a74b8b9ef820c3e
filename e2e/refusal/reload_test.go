package refusal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// configMap is a directory as the kubelet makes it of a ConfigMap.
type configMap struct {
	dir      string
	versions int
}

func newConfigMap(t *testing.T, body string) *configMap {
	t.Helper()
	c := &configMap{dir: t.TempDir()}
	c.set(t, body)
	if err := os.Symlink(filepath.Join("..data", "config.conf"), c.path()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *configMap) path() string { return filepath.Join(c.dir, "config.conf") }

// set replaces the file by the swap of a link.
func (c *configMap) set(t *testing.T, body string) {
	t.Helper()
	c.versions++
	version := fmt.Sprintf("..version_%d", c.versions)
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {maxPerCore: 0}\n" + body + "\n"
	if err := errors.Join(os.Mkdir(filepath.Join(c.dir, version), 0o755),
		os.WriteFile(filepath.Join(c.dir, version, "config.conf"), []byte(text), 0o644),
		os.Symlink(version, filepath.Join(c.dir, "..data_tmp")),
		os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// shows waits until a page of the metrics address holds all of the texts.
func (d *daemon) shows(t *testing.T, path string, texts ...string) {
	t.Helper()
	cluster.Await(t, path, func() error {
		response, err := d.node.HTTPClient(cluster.Patience).Get("http://127.0.0.1:10249" + path)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(string(body), text) {
				return fmt.Errorf("%q is missing in\n%s", text, body)
			}
		}
		return nil
	})
}

// A ConfigMap that changes under a running daemon: what can be taken over is, in the kernel and in place; a file that is wrong,
// or asks for what the kernel has not got, leaves everything as it was; what needs a new process is named.
func TestConfigMapThatChanges(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	const reloaded, failed = "\nkube_ipvs_proxy_config_last_reload_successful 1\n", "\nkube_ipvs_proxy_config_last_reload_successful 0\n"
	lc := strings.ReplaceAll(good4+good6, "-s rr", "-s lc")
	c := newConfigMap(t, "mode: ipvs")
	d := g.start(t, "--config="+c.path(), "--reload-config")
	d.says(t, served)
	d.serves(t, good4+good6)
	d.shows(t, "/metrics", reloaded)
	c.set(t, "ipvs: {scheduler: lc}")
	d.serves(t, lc)
	d.shows(t, "/configz", `"scheduler":"lc"`)
	c.set(t, "mode: nftables\nipvs: {scheduler: rr}")
	d.says(t, "the last good one stays in effect", `mode: \"nftables\"`)
	d.shows(t, "/metrics", failed)
	c.set(t, "ipvs: {scheduler: nonesuch}")
	d.says(t, `ipvs.scheduler: \"nonesuch\"`)
	d.serves(t, lc)
	d.shows(t, "/configz", `"scheduler":"lc"`)
	c.set(t, "ipvs: {scheduler: rr, strictARP: true}\nclusterCIDR: 10.244.0.0/16")
	d.serves(t, good4+good6)
	d.says(t, "recreate the pod", `"clusterCIDR", "ipvs.strictARP"`)
	d.shows(t, "/metrics", reloaded, "\nkube_ipvs_proxy_config_fields_awaiting_restart 2\n")
	d.stop(t)
}
