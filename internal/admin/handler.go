package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"kube-ipvs-proxy/internal/service"
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

// Answers are what a daemon that works has to say.
type Answers struct {
	View    func(context.Context) (View, error)
	Explain func(context.Context, Question) (Explanation, error)
	// Servers returns the part of the view that is about the virtual servers of Services, see ServersOf.
	Servers func(context.Context, []service.Name) (View, error)
}

// Handler answers GET /identity, GET /view, GET /servers?service=NAMESPACE/NAME&… and
// GET /explain?to=ADDRESS:PORT/PROTOCOL&from=ADDRESS with JSON. Errors are text, with status 503 where trying again helps.
// What there is to say is asked for anew each time.
func Handler(identity Identity, current func() (Answers, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /identity", func(w http.ResponseWriter, _ *http.Request) { answer(w, identity) })
	mux.HandleFunc("GET /view", patiently(current, func(ctx context.Context, a Answers) (any, error) { return a.View(ctx) }))
	mux.HandleFunc("GET /servers", func(w http.ResponseWriter, r *http.Request) {
		names, err := ParseNames(r.URL.Query()["service"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		patiently(current, func(ctx context.Context, a Answers) (any, error) { return a.Servers(ctx, names) })(w, r)
	})
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		question, err := ParseQuestion(r.FormValue("to"), r.FormValue("from"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		patiently(current, func(ctx context.Context, a Answers) (any, error) { return a.Explain(ctx, question) })(w, r)
	})
	return mux
}

// ParseNames reads names of Services, NAMESPACE/NAME each.
func ParseNames(texts []string) ([]service.Name, error) {
	names := make([]service.Name, len(texts))
	for i, text := range texts {
		namespace, name, both := strings.Cut(text, "/")
		if !both || namespace == "" || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("%q names no Service: give NAMESPACE/NAME, for example kube-system/kube-dns", text)
		}
		names[i] = service.Name{Namespace: namespace, Name: name}
	}
	return names, nil
}

// patiently answers with what somebody says within viewPatience.
func patiently(current func() (Answers, error), say func(context.Context, Answers) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), viewPatience)
		defer cancel()
		var said any
		answers, err := current()
		if err == nil {
			said, err = say(ctx, answers)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		answer(w, said)
	}
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // the client has gone when writing fails
}
