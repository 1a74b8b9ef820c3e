package plan

import "kube-ipvs-proxy/internal/dataplane"

// Drains returns the real servers that drain, in order: those with weight 0 that are not wanted. Their weight is all that
// is confirmed of them; how many connections they have is for the kernel to say.
func (p *Planner) Drains(desired Desired) []dataplane.Member {
	var draining []dataplane.Member
	for _, key := range p.Draining(desired) {
		want, _ := desired.Pool(key)
		for _, real := range p.pools[key].reals {
			if real.Weight == 0 && !wants(want, real.Addr) {
				draining = append(draining, dataplane.Member{VirtualServer: key, RealServer: real})
			}
		}
	}
	return draining
}
