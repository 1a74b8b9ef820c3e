package main

import (
	"fmt"
	"strconv"
	"strings"
)

// size is how much there is in the API server.
type size struct {
	Services  int
	Endpoints int // of each Service
}

func (s size) String() string { return fmt.Sprintf("%dx%d", s.Services, s.Endpoints) }

// dataPath says whether the size is one of the data path, at which several namespaces of a kernel have virtual servers. There
// /proc/net/ip_vs cannot be relied on: between two reads the kernel counts what it has shown over all namespaces, and what it
// skips then in its own only (ip_vs_info_seq_next and ip_vs_info_array).
func (s size) dataPath() bool { return s.Endpoints < leastEndpoints }

// The most that the addresses of endpointAddr hold, and the fewest that the changes need.
const (
	mostServices   = 16 << 10
	mostEndpoints  = 254
	leastEndpoints = drained + 2
)

// parseSizes reads sizes like "1000x10,5000x10", and none of an empty text.
func parseSizes(text string) ([]size, error) {
	var sizes []size
	if text == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		var s size
		if _, err := fmt.Sscanf(word, "%dx%d", &s.Services, &s.Endpoints); err != nil || s.String() != word {
			return nil, fmt.Errorf("size %q: want Services x endpoints, such as 1000x10", word)
		}
		if s.Services < 1 || s.Services > mostServices || s.Endpoints < leastEndpoints || s.Endpoints > mostEndpoints {
			return nil, fmt.Errorf("size %q: want 1 to %d Services with %d to %d endpoints", word, mostServices, leastEndpoints, mostEndpoints)
		}
		sizes = append(sizes, s)
	}
	return sizes, nil
}

// parseCounts reads numbers of Services with one endpoint each, like "10,1000", and none of an empty text.
func parseCounts(text string) ([]size, error) {
	var sizes []size
	if text == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		count, err := strconv.Atoi(word)
		if err != nil || count < 1 || count > mostServices {
			return nil, fmt.Errorf("number of Services %q: want 1 to %d", word, mostServices)
		}
		sizes = append(sizes, size{count, 1})
	}
	return sizes, nil
}
