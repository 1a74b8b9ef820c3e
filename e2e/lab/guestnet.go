package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of QEMU's user network.
const (
	uplinkAddress = "10.0.2.15/24"
	uplinkHost    = "10.0.2.2" // the host's loopback
)

// guestForward makes the ports of -forward lead to the host. The network card they go through is moved to
// a network namespace of its own, so that the command's has no address that a node would not have.
func guestForward(ports []int) error {
	if len(ports) == 0 {
		return nil
	}
	listeners, err := listenLoopback(ports)
	if err != nil {
		return err
	}
	card, err := networkCard()
	if err != nil {
		return err
	}
	up, err := startUplink(card)
	if err != nil {
		return err
	}
	forward(listeners, up.dial)
	return nil
}

func networkCard() (netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		driver, err := os.Readlink(filepath.Join("/sys/class/net", link.Attrs().Name, "device/driver"))
		if err == nil && filepath.Base(driver) == "virtio_net" {
			return link, nil
		}
	}
	return nil, fmt.Errorf("no virtio network card among %d links", len(links))
}

// uplink is a thread in the network namespace of the card. It opens connections for everybody else.
type uplink struct {
	requests chan dialRequest
}

type dialRequest struct {
	port  int
	reply chan<- dialReply
}

type dialReply struct {
	conn net.Conn
	err  error
}

func (u *uplink) dial(port int) (net.Conn, error) {
	reply := make(chan dialReply, 1)
	u.requests <- dialRequest{port, reply}
	answer := <-reply
	return answer.conn, answer.err
}

// startUplink makes the namespace and moves the card there.
func startUplink(card netlink.Link) (*uplink, error) {
	up := &uplink{requests: make(chan dialRequest)}
	made := make(chan int)
	moved := make(chan struct{})
	ready := make(chan error, 1)
	go up.serve(card, made, moved, ready)
	tid, ok := <-made
	if !ok {
		return nil, <-ready
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", tid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	if err := netlink.LinkSetNsFd(card, int(namespace.Fd())); err != nil {
		return nil, fmt.Errorf("move %s to the uplink's namespace: %w", card.Attrs().Name, err)
	}
	close(moved)
	return up, <-ready
}

func (u *uplink) serve(card netlink.Link, made chan<- int, moved <-chan struct{}, ready chan<- error) {
	runtime.LockOSThread() // for good: the thread is no use to anybody else
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("make the uplink's namespace: %w", err)
		close(made)
		return
	}
	made <- unix.Gettid()
	<-moved
	ready <- configureUplink(card.Attrs().Name)
	for request := range u.requests {
		conn, err := net.Dial("tcp4", net.JoinHostPort(uplinkHost, strconv.Itoa(request.port)))
		request.reply <- dialReply{conn, err}
	}
}

func configureUplink(name string) error {
	card, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	address, err := netlink.ParseAddr(uplinkAddress)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(card, address); err != nil {
		return fmt.Errorf("add %s to %s: %w", uplinkAddress, name, err)
	}
	return netlink.LinkSetUp(card)
}
