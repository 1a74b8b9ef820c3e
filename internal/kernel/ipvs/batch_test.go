package ipvs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func op(verb dataplane.Verb, object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: verb, Object: object}
}

func mustApply(t *testing.T, c *conn, ops ...dataplane.Operation) {
	t.Helper()
	for i, err := range c.apply(context.Background(), ops) {
		if err != nil {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func sameDump(t *testing.T, got string, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(lines, "\n")+"\n", got); diff != "" {
		t.Errorf("(-wanted +got)\n%s", diff)
	}
}

func TestAddCorrectsWhatIsThere(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	key := tcp("192.0.2.1:80")
	mustApply(t, c, op(dataplane.Add, vs(key)), op(dataplane.Add, rs(key, "198.51.100.1:80", 1)))
	changed := vs(key)
	changed.Scheduler = "sh"
	k.sizes = nil
	mustApply(t, c, op(dataplane.Add, changed), op(dataplane.Add, rs(key, "198.51.100.1:80", 0)), op(dataplane.Add, rs(key, "198.51.100.2:80", 5)))
	sameDump(t, k.dump(), "-A -t 192.0.2.1:80 -s sh", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 0", "-a -t 192.0.2.1:80 -r 198.51.100.2:80 -m -w 5")
	if diff := cmp.Diff([]int{3, 2}, k.sizes); diff != "" {
		t.Errorf("messages in each send (-wanted +got)\n%s", diff)
	}
}

func TestOneOperationAfterTheOtherOnTheSameObject(t *testing.T) {
	key := tcp("192.0.2.1:80")
	m := rs(key, "198.51.100.1:80", 1)
	for _, present := range []bool{false, true} {
		for name, test := range map[string]struct {
			ops  []dataplane.Operation
			want []string
		}{
			"add, edit": {[]dataplane.Operation{op(dataplane.Add, vs(key)), op(dataplane.Add, m), op(dataplane.Edit, rs(key, "198.51.100.1:80", 9))},
				[]string{"-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 9"}},
			"add, delete the virtual server": {[]dataplane.Operation{op(dataplane.Add, vs(key)), op(dataplane.Add, m), op(dataplane.Delete, vs(key))},
				[]string{""}},
			"add, delete, add": {[]dataplane.Operation{op(dataplane.Add, vs(key)), op(dataplane.Add, m), op(dataplane.Delete, m), op(dataplane.Add, rs(key, "198.51.100.1:80", 3))},
				[]string{"-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 3"}},
		} {
			t.Run(fmt.Sprintf("%s, present %v", name, present), func(t *testing.T) {
				k := newFake(t)
				c := k.connect()
				if present {
					mustApply(t, c, op(dataplane.Add, vs(key)), op(dataplane.Add, m))
				}
				mustApply(t, c, test.ops...)
				if got := strings.TrimSuffix(k.dump(), "\n"); got != strings.Join(test.want, "\n") {
					t.Errorf("left\n%s", got)
				}
			})
		}
	}
}

func TestVerbsOnWhatIsAbsent(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	here, gone := tcp("192.0.2.1:80"), tcp("192.0.2.2:80")
	unknown := vs(gone)
	unknown.Scheduler = "wrong"
	results := c.apply(context.Background(), []dataplane.Operation{
		op(dataplane.Add, vs(here)),
		op(dataplane.Edit, vs(gone)),
		op(dataplane.Delete, vs(gone)),
		op(dataplane.Add, rs(gone, "198.51.100.1:80", 1)),
		op(dataplane.Edit, rs(here, "198.51.100.1:80", 1)),
		op(dataplane.Delete, rs(here, "198.51.100.1:80", 1)),
		op(dataplane.Delete, rs(gone, "198.51.100.1:80", 1)),
		op(dataplane.Add, unknown),
		op(dataplane.Add, dataplane.Address{Addr: netip.MustParseAddr("192.0.2.1")}),
		op(9, vs(here)),
	})
	wanted := []error{nil, dataplane.ErrNotExist, nil, dataplane.ErrNotExist, dataplane.ErrNotExist, nil, nil,
		dataplane.ErrNoScheduler, dataplane.ErrInvalid, dataplane.ErrInvalid}
	for i, want := range wanted {
		if !errors.Is(results[i], want) {
			t.Errorf("operation %d: %v, not %v", i, results[i], want)
		}
	}
	if !errors.Is(results[1], unix.ESRCH) || !strings.Contains(results[1].Error(), "ipvsadm -E -t 192.0.2.2:80") {
		t.Errorf("lacks the errno or the object: %v", results[1])
	}
	if !strings.Contains(results[7].Error(), "modprobe ip_vs_wrong") {
		t.Errorf("lacks the way out: %v", results[7])
	}
}

func TestFailuresKeepTheirPlaceInBigBatches(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	ops, bad := manyOperations(5000)
	for i, err := range c.apply(context.Background(), ops) {
		if bad[i] != errors.Is(err, dataplane.ErrNotExist) {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	if len(k.sizes) < 5 || k.sizes[0] != 1000 {
		t.Errorf("messages in each send: %v", k.sizes)
	}
}

// manyOperations fill one virtual server; some of them concern another, which is not there.
func manyOperations(n int) ([]dataplane.Operation, map[int]bool) {
	key, gone := tcp("192.0.2.1:80"), tcp("192.0.2.2:80")
	random := rand.New(rand.NewPCG(1, 2))
	ops := []dataplane.Operation{op(dataplane.Add, vs(key))}
	bad := make(map[int]bool)
	for i := 1; i < n; i++ {
		addr := fmt.Sprintf("198.51.%d.%d:80", i/250, i%250+1)
		if random.IntN(7) == 0 {
			bad[i] = true
			ops = append(ops, op(dataplane.Add, rs(gone, addr, 1)))
			continue
		}
		ops = append(ops, op(dataplane.Add, rs(key, addr, 1)))
	}
	return ops, bad
}

func TestLostAnswersAreFoundOutAgain(t *testing.T) {
	for _, capacity := range []int{1, 2, 60} {
		k := newFake(t)
		c := k.connect()
		k.capacity = capacity
		ops, bad := manyOperations(700)
		for i, err := range c.apply(context.Background(), ops) {
			if bad[i] != errors.Is(err, dataplane.ErrNotExist) || !bad[i] && err != nil {
				t.Fatalf("capacity %d, operation %d: %v", capacity, i, err)
			}
		}
		if got := strings.Count(k.dump(), "-a "); got != 699-len(bad) {
			t.Errorf("capacity %d: %d real servers", capacity, got)
		}
	}
}

func TestBrokenSocketIsReplaced(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	broken := 0
	k.beforeSend = func() (error, bool) {
		if broken++; broken < 3 {
			k.overrun = true
			return unix.EBADF, false
		}
		return nil, true
	}
	mustApply(t, c, op(dataplane.Add, vs(tcp("192.0.2.1:80"))))
	if broken != 3 {
		t.Errorf("%d sends", broken)
	}
	dials := 0
	c = newConn(func() (nlbatch.Wire, nlbatch.Limits, error) {
		if dials++; dials == 1 {
			return &deadWire{}, nlbatch.Limits{Bytes: 1 << 16, Messages: 100}, nil
		}
		return k, nlbatch.Limits{Bytes: 1 << 16, Messages: 100}, nil
	})
	c.family = k.family
	mustApply(t, c, op(dataplane.Add, vs(tcp("192.0.2.9:80"))))
	if dials != 2 {
		t.Errorf("dialled %d times", dials)
	}
}

type deadWire struct{}

func (deadWire) Send([]byte) error           { return unix.EBADF }
func (deadWire) Receive([]byte) (int, error) { return 0, unix.EBADF }
func (deadWire) Close() error                { return nil }

func TestSocketThatStaysBrokenFailsEveryOperation(t *testing.T) {
	c := newConn(func() (nlbatch.Wire, nlbatch.Limits, error) {
		return deadWire{}, nlbatch.Limits{Bytes: 1 << 16, Messages: 2}, nil
	})
	c.family = 34
	results := c.apply(context.Background(), []dataplane.Operation{
		op(dataplane.Add, vs(tcp("192.0.2.1:80"))), op(dataplane.Delete, vs(tcp("192.0.2.2:80"))), op(dataplane.Delete, vs(tcp("192.0.2.3:80"))),
	})
	for i, err := range results {
		if !errors.Is(err, unix.EBADF) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func TestModuleLoadedAnew(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	key := tcp("192.0.2.1:80")
	mustApply(t, c, op(dataplane.Add, vs(key)))

	k.family = 0
	clear(k.services)
	results := c.apply(context.Background(), []dataplane.Operation{op(dataplane.Add, vs(key)), op(dataplane.Delete, vs(key))})
	if !errors.Is(results[0], dataplane.ErrUnavailable) || errors.Is(results[0], dataplane.ErrNoScheduler) || results[1] != nil {
		t.Errorf("without the module: %v", results)
	}
	if _, _, err := c.pools(context.Background()); !errors.Is(err, dataplane.ErrUnavailable) {
		t.Errorf("read without the module: %v", err)
	}

	k.family = 35
	mustApply(t, c, op(dataplane.Add, vs(key)))
	k.family = 36
	if pools, _, err := c.pools(context.Background()); err != nil || len(pools) != 1 {
		t.Errorf("read with the module loaded anew: %v, %v", pools, err)
	}
	k.family = 37
	mustApply(t, c, op(dataplane.Add, vs(key)), op(dataplane.Add, rs(key, "198.51.100.1:80", 1)))
	sameDump(t, k.dump(), "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 1")
}

func TestObjectThatComesAndGoes(t *testing.T) {
	key := tcp("192.0.2.1:80")
	for _, stubborn := range []bool{false, true} {
		k := newFake(t)
		c := k.connect()
		k.services[key] = &fakeService{VirtualServer: vs(key)}
		meddled := 0
		k.afterMsg = func(command uint8) {
			if meddled++; meddled > 1 && !stubborn {
				return
			}
			if command == newService {
				delete(k.services, key)
			} else {
				k.services[key] = &fakeService{VirtualServer: vs(key)}
			}
		}
		err := c.apply(context.Background(), []dataplane.Operation{op(dataplane.Add, vs(key))})[0]
		if stubborn != errors.Is(err, dataplane.ErrConflict) || !stubborn && (err != nil || k.services[key] == nil) {
			t.Errorf("stubborn %v: %v", stubborn, err)
		}
	}
}

func TestContextEndsABatch(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	ctx, cancel := context.WithCancel(context.Background())
	k.beforeSend = func() (error, bool) { cancel(); return nil, true }
	ops, bad := manyOperations(1500)
	for i, err := range c.apply(ctx, ops) {
		if late := i >= 1000; late != errors.Is(err, context.Canceled) || !late && bad[i] != (err != nil) {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
}

func TestClosedDriverFails(t *testing.T) {
	k := newFake(t)
	d := &Driver{conn: k.connect()}
	if err := d.Close(); err != nil || k.closed != 1 {
		t.Fatalf("closed %d times: %v", k.closed, err)
	}
	if err := d.Close(); err != nil || k.closed != 1 {
		t.Errorf("closed %d times: %v", k.closed, err)
	}
	if errs := d.Apply(context.Background(), []dataplane.Operation{op(dataplane.Delete, vs(tcp("192.0.2.1:80")))}); !errors.Is(errs[0], os.ErrClosed) {
		t.Error(errs)
	}
	if _, _, err := d.Pools(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
