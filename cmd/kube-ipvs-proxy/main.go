// Command kube-ipvs-proxy serves Kubernetes Services on a node with the kernel's IPVS load balancer.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kube-ipvs-proxy/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.NewCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kube-ipvs-proxy:", err)
		os.Exit(app.ExitStatus(err))
	}
}
