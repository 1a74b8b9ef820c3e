package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// binaryName is the daemon's, which make builds into the demo's own directory.
const binaryName = "kube-ipvs-proxy"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	binary := flag.String("daemon", "", "`PATH` of the daemon (default "+binaryName+" beside this program)")
	showLog := flag.Bool("log", false, "show the daemon's log even if all goes well")
	flag.Parse()
	if err := run(ctx, *binary, *showLog, os.Stdout); err != nil {
		fmt.Printf("\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("\ndemo: OK")
}

// run plays the demo and leaves nothing behind. If it fails, the daemon's log is shown too.
func run(ctx context.Context, binary string, showLog bool, out io.Writer) error {
	binary, err := findDaemon(binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &demo{say: newNarrator(out), manifest: manifest{dir: dir}, daemon: &daemon{binary: binary, lost: cancel}}
	err = d.play(ctx)
	if err == nil {
		err = context.Cause(ctx) // of a daemon that ended when nobody was waiting for it
	}
	err = errors.Join(err, d.daemon.stop())
	if d.daemon.started() && (err != nil || showLog) {
		fmt.Fprintf(out, "\nThe daemon's log:\n%s", d.daemon.log.String())
	}
	return errors.Join(err, d.network.TearDown())
}

// findDaemon returns the absolute path of the daemon.
func findDaemon(binary string) (string, error) {
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		binary = filepath.Join(filepath.Dir(self), binaryName)
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("there is no daemon: %w; run make build", err)
	}
	return filepath.Abs(binary)
}
