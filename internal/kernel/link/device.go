package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// EnsureDevice makes the device exist, as a dummy that is down: its addresses work all the same, as the local routes
// do not depend on the link, and nothing announces them or routes by them. It returns a line for each repair.
//
// ErrConflict: an interface of another kind has the name. ErrUnavailable: the kernel has no dummy device.
func (d *Driver) EnsureDevice(ctx context.Context) (repaired []string, err error) {
	err = d.with(ctx, func(c *conn) error {
		device, err := c.device(d.kind)
		if errors.Is(err, dataplane.ErrNotExist) {
			if err = c.create(d.kind); err != nil {
				return err
			}
			repaired = append(repaired, "created the device "+dataplane.Device)
			device, err = c.device(d.kind)
		}
		if err != nil {
			return err
		}
		if device.Attrs().Flags&net.FlagUp == 0 {
			return nil
		}
		if err := c.setDown(ctx, device); err != nil {
			return err
		}
		repaired = append(repaired, "set the device "+dataplane.Device+" down")
		return nil
	})
	return repaired, err
}

func (c *conn) create(kind string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = dataplane.Device
	err := c.handle.LinkAdd(&netlink.GenericLink{LinkAttrs: attributes, LinkType: kind})
	switch {
	case err == nil || errors.Is(err, unix.EEXIST): // somebody was faster; the caller looks what it is
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("create the device %s: interfaces of kind %s are %w; load the module (modprobe %s) (%w)",
			dataplane.Device, kind, dataplane.ErrUnavailable, kind, err)
	}
	return fmt.Errorf("create the device %s: %w", dataplane.Device, typed(err))
}

// setDown sets the device down and puts back the IPv6 addresses that the kernel drops on that occasion.
func (c *conn) setDown(ctx context.Context, device netlink.Link) error {
	before, err := c.addresses(ctx)
	if err != nil {
		return err
	}
	if err := c.handle.LinkSetDown(device); err != nil {
		return fmt.Errorf("set the device %s down: %w", dataplane.Device, typed(err))
	}
	var lost []dataplane.Operation
	for _, one := range before {
		if one.index == device.Attrs().Index && one.ours() && one.prefix.Addr().Is6() {
			lost = append(lost, addition(one.prefix.Addr()))
		}
	}
	if err := errors.Join(c.exchange(ctx, device.Attrs().Index, lost)...); err != nil {
		return fmt.Errorf("put addresses back on the device %s: %w", dataplane.Device, err)
	}
	return nil
}

func addition(addr netip.Addr) dataplane.Operation {
	return dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Address{Addr: addr}}
}

// RemoveDevice deletes the device with all its addresses, and returns a line if there was one. ErrConflict: an interface of
// another kind has the name; it stays.
func (d *Driver) RemoveDevice(ctx context.Context) (removed []string, err error) {
	err = d.with(ctx, func(c *conn) error {
		device, err := c.device(d.kind)
		if errors.Is(err, dataplane.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := typed(c.handle.LinkDel(device)); err != nil && !errors.Is(err, dataplane.ErrNotExist) {
			return fmt.Errorf("delete the device %s: %w", dataplane.Device, err)
		}
		removed = append(removed, "deleted the device "+dataplane.Device)
		return nil
	})
	return removed, err
}
