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

// Handler serves /healthz and /livez: status 200 or 503, with the state as JSON. Each answer is counted with the path and
// the status, unless count is nil.
func (s *State) Handler(count func(path string, status int)) http.Handler {
	mux := http.NewServeMux()
	page := func(path string, answerOf func(report) (ok bool, eligible *bool)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			r := s.report()
			ok, eligible := answerOf(r)
			status := http.StatusOK
			if !ok {
				status = http.StatusServiceUnavailable
			}
			if count != nil {
				count(path, status)
			}
			s.respond(w, r, status, eligible)
		})
	}
	page("/healthz", func(r report) (bool, *bool) { return r.healthy && r.eligible, &r.eligible })
	page("/livez", func(r report) (bool, *bool) { return r.healthy, nil })
	return mux
}

// respond writes what kube-proxy 1.37 writes (pkg/proxy/healthcheck/proxy_health.go): healthy says whether changes are kept
// up with, whether or not the node is eligible, and an answer 200 was always updated just now.
func (s *State) respond(w http.ResponseWriter, r report, status int, eligible *bool) {
	families := make(map[string]familyAnswer, len(s.families))
	for _, family := range s.families {
		families[family.String()] = familyAnswer{r.updated, r.healthy}
	}
	updated := r.updated
	if status == http.StatusOK {
		updated = r.now
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client has gone when writing fails; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(answer{updated, r.now, eligible, r.healthy, families})
}
