package service

import (
	"cmp"
	"iter"
	"slices"
)

// Catalog joins Services with their slices. It keeps the values it is given, not copies: they are immutable. Every
// change costs what the one Service and its slices cost, however many others there are. It is not safe for concurrent
// use; the Views it hands out are, and do not change afterwards.
type Catalog struct {
	records map[Name]*record
	owners  map[Name]Name // slice → the Service it says it belongs to
	counts  Counts
}

// record is what is known under the name of one Service: the Service, slices, or both.
type record struct {
	service *Service // nil until the Service exists
	slices  []*Slice // by name; replaced, never changed in place, because Views share it
}

// Counts are the numbers of objects in a Catalog.
type Counts struct {
	Services  int
	Slices    int // those that wait for their Service included
	Endpoints int // endpoints in slices; one that two slices list counts twice
}

// NewCatalog returns an empty Catalog.
func NewCatalog() *Catalog {
	return &Catalog{records: map[Name]*record{}, owners: map[Name]Name{}}
}

// SetService adds or replaces a Service and reports whether that changed anything.
func (c *Catalog) SetService(s Service) bool {
	r := c.record(s.Name)
	if r.service != nil && r.service.Equal(s) {
		return false
	}
	if r.service == nil {
		c.counts.Services++
	}
	r.service = &s
	return true
}

// DeleteService removes a Service and reports whether there was one. Its slices stay, in case it comes back.
func (c *Catalog) DeleteService(name Name) bool {
	r, ok := c.records[name]
	if !ok || r.service == nil {
		return false
	}
	r.service = nil
	c.counts.Services--
	c.tidy(name)
	return true
}

// SetSlice adds or replaces a slice and returns the existing Services whose meaning may have changed by it: the one it
// belongs to and, if that is another, the one it belonged to before. A slice that names no Service belongs to none and
// is not kept.
func (c *Catalog) SetSlice(s Slice) []Name {
	if s.Service == "" {
		return c.DeleteSlice(s.Name)
	}
	owner := Name{s.Name.Namespace, s.Service}
	var affected []Name
	if before, ok := c.owners[s.Name]; ok && before != owner {
		affected = c.DeleteSlice(s.Name)
	}
	c.owners[s.Name] = owner
	if c.record(owner).put(&s, &c.counts) && c.records[owner].service != nil {
		affected = append(affected, owner)
	}
	return affected
}

// DeleteSlice removes a slice and returns the existing Service whose meaning may have changed by that, if any.
func (c *Catalog) DeleteSlice(name Name) []Name {
	owner, ok := c.owners[name]
	if !ok {
		return nil
	}
	delete(c.owners, name)
	r := c.records[owner]
	r.remove(name, &c.counts)
	c.tidy(owner)
	if r.service == nil {
		return nil
	}
	return []Name{owner}
}

// View returns a Service joined with its slices as they are now.
func (c *Catalog) View(name Name) (View, bool) {
	r, ok := c.records[name]
	if !ok || r.service == nil {
		return View{}, false
	}
	return View{Service: *r.service, slices: r.slices}, true
}

// Names yields the names of all Services, in no particular order.
func (c *Catalog) Names() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		for name, r := range c.records {
			if r.service != nil && !yield(name) {
				return
			}
		}
	}
}

// Counts returns how many objects the Catalog holds.
func (c *Catalog) Counts() Counts { return c.counts }

func (c *Catalog) record(name Name) *record {
	r, ok := c.records[name]
	if !ok {
		r = &record{}
		c.records[name] = r
	}
	return r
}

// tidy forgets a record that holds nothing any more.
func (c *Catalog) tidy(name Name) {
	if r := c.records[name]; r.service == nil && len(r.slices) == 0 {
		delete(c.records, name)
	}
}

// put adds or replaces a slice and reports whether its meaning differs from what was there.
func (r *record) put(s *Slice, counts *Counts) bool {
	i, found := slices.BinarySearchFunc(r.slices, s.Name, compareSliceName)
	if !found {
		r.slices = slices.Insert(slices.Clone(r.slices), i, s)
		counts.Slices++
		counts.Endpoints += len(s.Endpoints)
		return true
	}
	before := r.slices[i]
	r.slices = slices.Clone(r.slices)
	r.slices[i] = s
	counts.Endpoints += len(s.Endpoints) - len(before.Endpoints)
	return !before.Equal(*s)
}

func (r *record) remove(name Name, counts *Counts) {
	i, found := slices.BinarySearchFunc(r.slices, name, compareSliceName)
	if !found {
		return
	}
	counts.Slices--
	counts.Endpoints -= len(r.slices[i].Endpoints)
	r.slices = slices.Delete(slices.Clone(r.slices), i, i+1)
}

func compareSliceName(s *Slice, name Name) int {
	return cmp.Or(cmp.Compare(s.Name.Namespace, name.Namespace), cmp.Compare(s.Name.Name, name.Name))
}
