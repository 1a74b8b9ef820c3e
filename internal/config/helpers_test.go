package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

// load parses arguments as the command line and loads the configuration.
func load(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	return loadOn(t, Host{Hostname: "node-1"}, args...)
}

func loadOn(t *testing.T, host Host, args ...string) (Config, error) {
	t.Helper()
	f := NewFlags()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.SetOutput(&strings.Builder{})
	f.AddTo(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	return f.Load(host)
}

// mustLoad is load for what is valid.
func mustLoad(t *testing.T, args ...string) Config {
	t.Helper()
	c, err := load(t, args...)
	if err != nil {
		t.Fatalf("load %q: %v", args, err)
	}
	return c
}

// written writes the body of a configuration to a file and returns its path.
func written(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(header+body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantAll fails unless the text contains all parts.
func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

// dump prints a configuration with one line for each field, and one for each warning.
func dump(c Config) string {
	var b strings.Builder
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name, part := v.Type().Field(i).Name, v.Field(i)
		switch {
		case name == "File":
		case part.Kind() != reflect.Struct:
			fmt.Fprintf(&b, "%s\n", strings.Join(c.Warnings, "\n"))
		default:
			for j := range part.NumField() {
				fmt.Fprintf(&b, "%s.%s: %v\n", name, part.Type().Field(j).Name, part.Field(j))
			}
		}
	}
	return b.String()
}
