package standin

import (
	"slices"
	"testing"
)

func TestBuildEndsAtTheFirstFatal(t *testing.T) {
	var b Test
	var done []string
	err := b.Build(func(t testing.TB) {
		t.Cleanup(func() { done = append(done, "first") })
		t.Cleanup(func() { done = append(done, "second"); t.Errorf("left %d", 1) })
		t.Fatalf("no %s", "room")
		done = append(done, "after Fatal")
	})
	if err == nil || err.Error() != "no room" {
		t.Errorf("Build returned %v, want no room", err)
	}
	if err := b.TearDown(); err == nil || err.Error() != "left 1" {
		t.Errorf("TearDown returned %v, want left 1", err)
	}
	if want := []string{"second", "first"}; !slices.Equal(done, want) {
		t.Errorf("done %q, want %q", done, want)
	}
	if err := b.TearDown(); err != nil || len(done) != 2 {
		t.Errorf("a second TearDown returned %v and did %q, want nothing", err, done)
	}
}
