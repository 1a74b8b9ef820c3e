package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Identity is the answer to GET /identity: who the daemon is.
type Identity struct {
	PID     int       `json:"pid"` // in the daemon's own namespace of processes
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	Command []string  `json:"command"`
}

// String names the daemon for somebody who looks for it.
func (i Identity) String() string {
	return fmt.Sprintf("process %d (in its own PID namespace), started %s: %q", i.PID, i.Started.UTC().Format(time.RFC3339), i.Command)
}

// viewPatience bounds how long a request for the view may wait for the reconciler, which may be in a long first round.
const viewPatience = 20 * time.Second

// Handler answers GET /identity and GET /view, both with JSON. Errors are text, with status 503 where trying again helps.
func Handler(identity Identity, view func(context.Context) (View, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /identity", func(w http.ResponseWriter, _ *http.Request) { answer(w, identity) })
	mux.HandleFunc("GET /view", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), viewPatience)
		defer cancel()
		v, err := view(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		answer(w, v)
	})
	return mux
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // the client has gone when writing fails
}
