package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// server is one HTTP listener of the daemon.
type server struct {
	name    string
	address string // host:port; empty for none
	handler http.Handler
}

// rebind is how long a listener whose address is taken waits before it tries again.
const rebind = 5 * time.Second

// serve answers requests until the context ends. An address that is in use is an error if hardFail says so, and
// otherwise reported and tried again.
func (s server) serve(ctx context.Context, hardFail bool, log *zap.Logger) error {
	if s.address == "" {
		return nil
	}
	for ctx.Err() == nil {
		err := s.once(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("serve %s on %s: %w; free the port or set another address", s.name, s.address, err)
		if hardFail {
			return err
		}
		log.Error("listener failed and will be tried again", zap.Error(err))
		select {
		case <-ctx.Done():
		case <-time.After(rebind):
		}
	}
	return nil
}

func (s server) once(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = web.Close() })
	defer stop()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
