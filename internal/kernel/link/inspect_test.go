package link

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"kube-ipvs-proxy/internal/dataplane"
)

// A device that is missing, up or something else is told, with the command that repairs it where there is one.
func TestInspectTellsWhatIsWrong(t *testing.T) {
	d := open(t)
	inspect := func(when, want string) {
		t.Helper()
		faults, err := d.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if len(faults) > 0 {
				t.Errorf("%s: %+v", when, faults)
			}
			return
		}
		if len(faults) != 1 || !strings.Contains(faults[0].What, dataplane.Device) || faults[0].Repair != want {
			t.Fatalf("%s: %+v, want %q", when, faults, want)
		}
		words := strings.Fields(faults[0].Repair)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", faults[0].Repair, err, out)
		}
	}
	inspect("without a device", "ip link add kube-ipvs0 type "+d.kind)
	inspect("after the repair", "")
	if err := netlink.LinkSetUp(device(t)); err != nil {
		t.Fatal(err)
	}
	inspect("with the device up", "ip link set kube-ipvs0 down")
	inspect("after the repair", "")
	if device(t).Attrs().Flags&net.FlagUp != 0 {
		t.Error("the device is up")
	}
	if err := netlink.LinkDel(device(t)); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dataplane.Device}, PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	faults, err := d.Inspect(t.Context())
	if err != nil || len(faults) != 1 || faults[0].Repair != "" || !strings.Contains(faults[0].What, "veth") {
		t.Errorf("with a veth in its place: %+v, %v", faults, err)
	}
}
