package service

import "slices"

// Equal reports whether two Services mean the same, order of addresses and ports included.
func (s Service) Equal(o Service) bool {
	return s.Name == o.Name && s.UID == o.UID && s.Created.Equal(o.Created) && s.VIPs.equal(o.VIPs) &&
		slices.Equal(s.Ports, o.Ports) && s.Policy.equal(o.Policy) && slices.Equal(s.Families, o.Families)
}

func (v VIPs) equal(o VIPs) bool {
	return slices.Equal(v.Cluster, o.Cluster) && slices.Equal(v.External, o.External) &&
		slices.Equal(v.LoadBalancer, o.LoadBalancer)
}

func (p Policy) equal(o Policy) bool {
	return p.AffinityTimeout == o.AffinityTimeout && p.InternalLocal == o.InternalLocal &&
		p.ExternalLocal == o.ExternalLocal && p.Distribution == o.Distribution &&
		p.HealthCheckNodePort == o.HealthCheckNodePort && p.PublishNotReady == o.PublishNotReady &&
		slices.Equal(p.SourceRanges, o.SourceRanges)
}

// Equal reports whether two slices mean the same. When the change was triggered is not part of the meaning.
func (s Slice) Equal(o Slice) bool {
	return s.Name == o.Name && s.Service == o.Service && slices.Equal(s.Ports, o.Ports) &&
		slices.EqualFunc(s.Endpoints, o.Endpoints, Endpoint.Equal)
}

// Equal reports whether two endpoints are the same in every respect.
func (e Endpoint) Equal(o Endpoint) bool {
	return e.Addr == o.Addr && e.Node == o.Node && e.Zone == o.Zone && e.Ready == o.Ready && e.Serving == o.Serving &&
		e.Terminating == o.Terminating && slices.Equal(e.ForZones, o.ForZones) && slices.Equal(e.ForNodes, o.ForNodes)
}
