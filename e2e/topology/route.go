package topology

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addRoute adds a route through a link, by way of a neighbour if via is valid. An
// equal route is replaced.
func (n *Netns) addRoute(destination netip.Prefix, via netip.Addr, name string) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(destination), Scope: netlink.SCOPE_LINK}
	if via.IsValid() {
		route.Gw, route.Scope = via.AsSlice(), netlink.SCOPE_UNIVERSE
	}
	if err := n.routes.RouteReplace(route); err != nil {
		return fmt.Errorf("route %v via %v through %s of %s: %w", destination, via, name, n.Name, err)
	}
	return nil
}

// removeRoute removes what addRoute added. That it is gone already is no error.
func (n *Netns) removeRoute(destination netip.Prefix, name string) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(destination), Scope: netlink.SCOPE_NOWHERE}
	if err := n.routes.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove the route to %v through %s of %s: %w", destination, name, n.Name, err)
	}
	return nil
}
