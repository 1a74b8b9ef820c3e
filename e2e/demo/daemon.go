package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// daemon is kube-ipvs-proxy on the first node.
type daemon struct {
	binary string
	log    topology.Output
	// lost is told when the daemon ends before it is asked to.
	lost func(error)

	process  *topology.Cmd // nil before start
	stopping context.CancelFunc
	ended    chan error
}

// start starts the daemon in a namespace and returns the command line.
func (d *daemon) start(ctx context.Context, in *topology.Netns, dir string) (string, error) {
	arguments := []string{
		"--manifests=" + dir,
		"--hostname-override=" + in.Name,
		"--conntrack-max-per-core=0", // that limit is the whole kernel's, and no namespace may change it
	}
	// The end of ctx would kill it; stop asks it to end.
	process := in.Command(context.WithoutCancel(ctx), d.binary, arguments...)
	process.Stdout, process.Stderr = &d.log, &d.log
	if err := process.Start(); err != nil {
		return "", err
	}
	asked, stopping := context.WithCancel(context.Background())
	d.process, d.stopping, d.ended = process, stopping, make(chan error, 1)
	go func() {
		err := process.Wait()
		if asked.Err() == nil {
			d.lost(fmt.Errorf("the daemon ended by itself: %s", process.ProcessState))
			err = nil // told already
		}
		d.ended <- err
	}()
	return strings.Join(append([]string{binaryName}, arguments...), " "), nil
}

func (d *daemon) started() bool { return d.process != nil }

// stop asks the daemon to end and waits for it. An end with a status other than 0 is an error. Without a
// running daemon it does nothing.
func (d *daemon) stop() error {
	if d.stopping == nil {
		return nil
	}
	d.stopping()
	d.stopping = nil
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send the daemon SIGTERM: %w", err)
	}
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("after SIGTERM the daemon ended with %w, want status 0", err)
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("SIGTERM had not ended the daemon after %v", patience), d.process.Process.Kill())
	}
}
