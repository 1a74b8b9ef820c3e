package health_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// B41: a port that is taken is a problem of its Service that says what to do, holds up nothing else, and ends by itself.
func TestB41PortInUse(t *testing.T) {
	c := newChecks(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	at, other := netip.MustParseAddrPort(taken.Addr().String()), free(t)
	six := netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()) // shows that the families are apart
	c.want("web", 1, 1, at, six)
	c.want("other", 1, 1, other)
	c.answers(other, "200 1 other")
	c.answers(six, "200 1 web")
	c.await("the problem", func() error {
		text := c.troubles("web")
		for _, part := range []string{"Service default/web", fmt.Sprintf(`spec.healthCheckNodePort "%d"`, at.Port()),
			at.String(), "address already in use", fmt.Sprintf("sport = :%d", at.Port())} {
			if !strings.Contains(text, part) {
				return fmt.Errorf("%q does not say %q", text, part)
			}
		}
		if strings.Contains(text, "\n") {
			return fmt.Errorf("more problems than one: %s", text)
		}
		return nil
	})
	_ = taken.Close()
	if _, err := get(at); err == nil {
		t.Error("it was tried again before its time")
	}
	c.await("another try", func() error {
		c.clock.Step(time.Second)
		got, err := get(at)
		if err == nil && got != "200 1 web" {
			err = fmt.Errorf("it answers %q", got)
		}
		return err
	})
	c.await("the end of the problem", func() error {
		if text := c.troubles("web"); text != "" {
			return fmt.Errorf("still %s", text)
		}
		return nil
	})
}

// B41: a Service that gives up a taken port has no problem any more, and the port is left alone.
func TestB41TakenPortIsGivenUp(t *testing.T) {
	c := newChecks(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(taken.Addr().String())
	c.want("web", 1, 1, at)
	c.await("the problem", func() error {
		if c.troubles("web") == "" {
			return fmt.Errorf("none")
		}
		return nil
	})
	c.want("web", 1, 1)
	c.await("the end of the problem", func() error {
		if text := c.troubles("web"); text != "" {
			return fmt.Errorf("still %s", text)
		}
		return nil
	})
	_ = taken.Close()
	c.clock.Step(time.Hour)
	next := free(t)
	c.want("next", 1, 1, next) // its being there says that the retry has had its time
	c.answers(next, "200 1 next")
	if got, err := get(at); err == nil {
		t.Errorf("a port that nobody wants answers %q", got)
	}
}

// B41: of two Services that want one port the older counts, whichever came first; the other is told, and takes over.
func TestB41TwoServicesWantOnePort(t *testing.T) {
	for _, order := range [][]string{{"old", "young"}, {"young", "old"}} {
		c, at := newChecks(t), free(t)
		created, count := map[string]int64{"old": 1, "young": 2}, map[string]int{"old": 3, "young": 4}
		for _, name := range order {
			c.want(name, created[name], count[name], at)
		}
		c.answers(at, "200 3 old")
		c.await("the problem", func() error {
			if text := c.troubles("young"); !strings.Contains(text, "Service default/old has it") {
				return fmt.Errorf("it is %q", text)
			}
			return nil
		})
		if problem := c.problemsOf("young")[0]; problem.UID != "uid-of-young" || problem.Rival != "Service default/old" {
			t.Errorf("the problem is of %q, against %q", problem.UID, problem.Rival)
		}
		if text := c.troubles("old"); text != "" {
			t.Errorf("the older Service has a problem: %s", text)
		}
		c.want("old", 1, 3)
		c.answers(at, "200 4 young")
		c.await("the end of the problem", func() error {
			if text := c.troubles("young"); text != "" {
				return fmt.Errorf("still %s", text)
			}
			return nil
		})
		c.stop()
	}
}

// A client that does not finish its request, and one that keeps its connection, hold up the end for a moment at most.
func TestEndIsBounded(t *testing.T) {
	c, at := newChecks(t), free(t)
	c.want("web", 1, 1, at)
	c.answers(at, "200 1 web")
	for _, text := range []string{"", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		connection, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		if _, err := fmt.Fprint(connection, text); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); c.stop() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("Run does not return")
	}
	c.closed(at)
}
