// Package link drives the dummy device kube-ipvs0 and its addresses over rtnetlink, reads the node's other addresses,
// and reports changes to either.
//
// From the outside in: driver.go is the public surface and reads, device.go keeps the device, batch.go sends
// address changes through package nlbatch, events.go follows the kernel's notifications and merge.go thins them out,
// message.go is the pure codec, conn.go holds the sockets.
//
// Only full-length addresses (/32, /128) of the device are the proxy's. Everything else, such as the fe80 address that
// the kernel gives an interface that is up, is neither reported nor touched (P25).
//
// Out of scope: which addresses are wanted, sysctls, ARP, routes, and loading the dummy module (the kernel may load it by
// itself when the device is created).
package link
