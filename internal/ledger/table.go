package ledger

import "slices"

// claim is one owner's wish for an object.
type claim[V any] struct {
	owner *Owner
	value V
}

// table holds the claims on objects of one kind. The first claim of a key is the one that counts.
type table[K comparable, V any] struct {
	claims map[K][]claim[V]
	equal  func(a, b V) bool
}

func newTable[K comparable, V any](equal func(a, b V) bool) table[K, V] {
	return table[K, V]{claims: make(map[K][]claim[V]), equal: equal}
}

// winner returns the value that counts for the key.
func (t *table[K, V]) winner(key K) (V, bool) {
	if claims := t.claims[key]; len(claims) > 0 {
		return claims[0].value, true
	}
	var none V
	return none, false
}

// put records the owner's claim, in place of an earlier one of the same owner, and reports whether the winning value
// changed.
func (t *table[K, V]) put(key K, owner *Owner, value V) bool {
	claims := t.claims[key]
	switch { // nearly always it is one of the first two
	case len(claims) == 0:
		t.claims[key] = []claim[V]{{owner, value}}
		return true
	case len(claims) == 1 && claims[0].owner == owner:
		before := claims[0].value
		claims[0].value = value
		return !t.equal(before, value)
	}
	before := claims[0].value
	claims = slices.DeleteFunc(claims, func(c claim[V]) bool { return c.owner == owner })
	at, _ := slices.BinarySearchFunc(claims, owner, func(c claim[V], o *Owner) int { return c.owner.Compare(*o) })
	t.claims[key] = slices.Insert(claims, at, claim[V]{owner, value})
	return !t.equal(before, t.claims[key][0].value)
}

// drop removes the owner's claim and reports whether the winning value changed or is gone.
func (t *table[K, V]) drop(key K, owner *Owner) bool {
	before, had := t.winner(key)
	claims := slices.DeleteFunc(t.claims[key], func(c claim[V]) bool { return c.owner == owner })
	if len(claims) == 0 {
		delete(t.claims, key)
		return had
	}
	t.claims[key] = claims
	return !t.equal(before, claims[0].value)
}
