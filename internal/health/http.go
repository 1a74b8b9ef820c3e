package health

import (
	"encoding/json"
	"net/http"
	"time"
)

// answer is the JSON body of kube-proxy's health endpoints.
type answer struct {
	LastUpdated  time.Time               `json:"lastUpdated"`
	CurrentTime  time.Time               `json:"currentTime"`
	NodeEligible *bool                   `json:"nodeEligible,omitempty"`
	Healthy      bool                    `json:"healthy"`
	Status       map[string]familyAnswer `json:"status"`
}

type familyAnswer struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// Handler serves /healthz and /livez: status 200 or 503, with the state as JSON.
func (s *State) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		r := s.report()
		s.respond(w, r, r.healthy && r.eligible, &r.eligible)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		r := s.report()
		s.respond(w, r, r.healthy, nil)
	})
	return mux
}

func (s *State) respond(w http.ResponseWriter, r report, ok bool, eligible *bool) {
	status := make(map[string]familyAnswer, len(s.families))
	for _, family := range s.families {
		status[family.String()] = familyAnswer{r.updated, r.healthy}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// The client has gone when writing fails; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(answer{r.updated, r.now, eligible, ok, status})
}
