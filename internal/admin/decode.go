package admin

import (
	"errors"

	"kube-ipvs-proxy/internal/dataplane"
)

// Desired is a view in the vocabulary of the data plane.
type Desired struct {
	dataplane.Objects
	Sets []dataplane.Set
}

// Desired translates the view. The error tells of a word that this version does not know.
func (v View) Desired() (Desired, error) {
	words := newNames()
	var out Desired
	for _, server := range v.VirtualServers {
		pool, err := words.pool(server)
		if err != nil {
			return Desired{}, err
		}
		out.Pools = append(out.Pools, pool)
	}
	for _, address := range v.Addresses {
		out.Addresses = append(out.Addresses, address.Address)
	}
	for _, set := range v.Sets {
		if err := words.addSet(set, &out); err != nil {
			return Desired{}, err
		}
	}
	return out, nil
}

// addSet adds a set and its entries.
func (n names) addSet(set Set, to *Desired) error {
	kind, typeErr := lookUp(n.types, "type of set", set.Type)
	family, familyErr := lookUp(n.families, "family", set.Family)
	if err := errors.Join(typeErr, familyErr); err != nil {
		return err
	}
	to.Sets = append(to.Sets, dataplane.Set{Name: set.Name, Type: kind, Family: family, HashSize: set.HashSize, MaxElem: set.MaxElem,
		Marks: set.Marks})
	for _, entry := range set.Entries {
		protocol, err := lookUp(n.protocols, "protocol", entry.Protocol)
		if err != nil {
			return err
		}
		to.Entries = append(to.Entries, dataplane.Entry{Set: set.Name, Addr: entry.Address, Protocol: protocol, Port: entry.Port,
			Peer: entry.Peer, Mark: entry.Mark})
	}
	return nil
}

func (n names) pool(server VirtualServer) (dataplane.Pool, error) {
	key, err := n.key(server.ServerKey)
	if err != nil {
		return dataplane.Pool{}, err
	}
	pool := dataplane.Pool{
		VirtualServer: dataplane.VirtualServer{Key: key, Scheduler: server.Scheduler, Flags: dataplane.ServiceFlags(server.Flags),
			Timeout: server.Timeout, MaskBits: server.MaskBits},
		RealServers: make([]dataplane.RealServer, len(server.RealServers)),
	}
	for i, real := range server.RealServers {
		forwarding, err := lookUp(n.forwarding, "forwarding method", real.Forwarding)
		if err != nil {
			return dataplane.Pool{}, err
		}
		pool.RealServers[i] = dataplane.RealServer{Addr: real.Address, Weight: real.Weight, Forwarding: forwarding}
	}
	for _, target := range server.For {
		key, err := n.key(target)
		if err != nil {
			return dataplane.Pool{}, err
		}
		pool.For = append(pool.For, key)
	}
	return pool, nil
}

func (n names) key(key ServerKey) (dataplane.VirtualServerKey, error) {
	if key.Mark != 0 {
		family, err := lookUp(n.families, "family", key.Family)
		return dataplane.MarkKeyOf(family, key.Mark), err
	}
	protocol, err := lookUp(n.protocols, "protocol", key.Protocol)
	if err == nil && (!key.Address.IsValid() || protocol == 0) {
		err = errors.New("a virtual server has neither a mark nor protocol and address: the daemon is of another version than this program")
	}
	if err != nil {
		return dataplane.VirtualServerKey{}, err
	}
	return dataplane.KeyOf(protocol, key.Address.Addr(), key.Address.Port()), nil
}
