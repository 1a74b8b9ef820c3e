package app

import (
	"context"
	"time"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/source/kube"
)

// greetPatience is how long sources wait for the first connection to the API server, rather than each begin with one of its
// own.
const greetPatience = 3 * time.Second

// connection is a client of the API server that is being made while the kernel is looked at.
type connection struct {
	made    chan struct{} // closed when client and err are set
	greeted chan struct{} // closed when there is a connection that all requests share, or will not be soon
	client  *kube.Client
	err     error
}

// connect begins to make a client, and has it open its connection.
func connect(ctx context.Context, api config.API) *connection {
	c := &connection{made: make(chan struct{}), greeted: make(chan struct{})}
	go func() {
		defer close(c.greeted)
		c.client, c.err = newClient(ctx, api)
		close(c.made)
		if c.client == nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, greetPatience)
		defer cancel()
		// What the answer is, or that there is none, does not matter: the sources will see for themselves and report it.
		_ = c.client.Greet(ctx)
	}()
	return c
}

// await returns the client when it is made: nil without an API server.
func (c *connection) await() (*kube.Client, error) {
	<-c.made
	return c.client, c.err
}

// greeted is a source that waits for the connection.
type greeted struct {
	*kube.Source
	api *connection
}

// Run implements runner.
func (g greeted) Run(ctx context.Context) error {
	select {
	case <-g.api.greeted:
	case <-ctx.Done():
		return nil
	}
	return g.Source.Run(ctx)
}
