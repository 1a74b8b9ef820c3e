package ipvs

import (
	"context"
	"errors"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func seed(f *testing.F) {
	for _, kind := range []string{"answer-service", "answer-dest", "request-service", "request-dest"} {
		for _, c := range captures(f, kind) {
			f.Add(c.body)
		}
	}
	f.Add(appendTimeouts(nil, 1, 2, 3))
}

// What decodes as a service and can be written again is the same service after it.
func FuzzDecodeService(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := decodeService(body)
		if err != nil {
			if !errors.Is(err, nlbatch.ErrMalformed) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		if validate(v) != nil {
			return
		}
		if again, err := decodeService(appendBody(nil, v, true)); err != nil || again != v {
			t.Errorf("%s became %s, %v", v, again, err)
		}
	})
}

func FuzzDecodeDest(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, family := range dataplane.Families() {
			d, err := decodeDest(body, family)
			if err != nil {
				if !errors.Is(err, nlbatch.ErrMalformed) {
					t.Errorf("untyped error: %v", err)
				}
				continue
			}
			m := dataplane.Member{VirtualServer: dataplane.MarkKeyOf(family, 1), RealServer: d.RealServer}
			if again, err := decodeDest(appendBody(nil, m, true), family); err != nil || again.RealServer != d.RealServer {
				t.Errorf("%s became %v, %v", m, again, err)
			}
		}
	})
}

// What decodes as counters and is written again is the same after it.
func FuzzDecodeCounters(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeCounters(body)
		if err != nil {
			if !errors.Is(err, nlbatch.ErrMalformed) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		again, err := decodeTraffic(appendStats(nil, c.Traffic, false))
		if err != nil || again != c.Traffic {
			t.Errorf("%+v became %+v, %v", c.Traffic, again, err)
		}
	})
}

// Whatever arrives, a read ends with a result or an error, and the next one is not disturbed.
func FuzzExchange(f *testing.F) {
	for _, kind := range []string{"answer-service", "answer-dest"} {
		for _, c := range captures(f, kind) {
			f.Add(answerOf(34, 2, newService, func(b []byte) []byte { return append(b, c.body...) }), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, datagram []byte, at uint8) {
		k := newFake(t)
		c := k.connect()
		mustApply(t, c, op(dataplane.Add, vs(tcp("192.0.2.1:80"))), op(dataplane.Add, rs(tcp("192.0.2.1:80"), "198.51.100.1:80", 0)))
		received := uint8(0)
		k.mangle = func(b []byte) []byte {
			if received++; received == at {
				return datagram
			}
			return b
		}
		_, _, _ = c.pools(context.Background())
		_ = c.apply(context.Background(), []dataplane.Operation{op(dataplane.Edit, vs(tcp("192.0.2.1:80")))})
		k.mangle = nil
		if pools, _, err := c.pools(context.Background()); err != nil || len(pools) != 1 {
			t.Errorf("afterwards: %v, %v", pools, err)
		}
	})
}
