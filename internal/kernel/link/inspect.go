package link

import (
	"context"
	"errors"
	"fmt"
	"net"

	"kube-ipvs-proxy/internal/dataplane"
)

// Inspect returns what EnsureDevice would put right, or could not, and changes nothing.
func (d *Driver) Inspect(ctx context.Context) (faults []dataplane.Fault, err error) {
	err = d.with(ctx, func(c *conn) error {
		faults = nil
		device, err := c.device(d.kind)
		switch {
		case errors.Is(err, dataplane.ErrNotExist):
			faults = append(faults, dataplane.Fault{What: "device " + dataplane.Device + " missing",
				Repair: fmt.Sprintf("ip link add %s type %s", dataplane.Device, d.kind)})
		case errors.Is(err, dataplane.ErrConflict):
			faults = append(faults, dataplane.Fault{What: err.Error()})
		case err != nil:
			return err
		case device.Attrs().Flags&net.FlagUp != 0:
			faults = append(faults, dataplane.Fault{What: "device " + dataplane.Device + " up, which it is not to be (taking it down drops its IPv6 addresses)",
				Repair: fmt.Sprintf("ip link set %s down", dataplane.Device)})
		}
		return nil
	})
	return faults, err
}
