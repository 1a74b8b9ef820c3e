package netfilter

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

func TestRenderGolden(t *testing.T) {
	for _, family := range dataplane.Families() {
		got, err := Render(everyRule(family))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", family.String()+".restore")
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%v (-want +got), UPDATE_GOLDEN=1 rewrites it:\n%s", family, diff)
		}
	}
}

func TestWhatCannotBeExpressedIsRefused(t *testing.T) {
	accept := dataplane.Accept{}
	one := netip.MustParsePrefix("10.0.0.0/8")
	for name, rule := range map[string]dataplane.Rule{
		"source of the other family": {Matches: []dataplane.Match{dataplane.MatchSource{Prefix: netip.MustParsePrefix("::1/128")}}, Action: accept},
		"no source at all":           {Matches: []dataplane.Match{dataplane.MatchSource{}}, Action: accept},
		"outside everything":         {Matches: []dataplane.Match{dataplane.MatchSource{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Not: true}}, Action: accept},
		"two sources":                {Matches: []dataplane.Match{dataplane.MatchSource{Prefix: one}, dataplane.MatchSource{Prefix: one}}, Action: accept},
		"two protocols":              {Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: 6}, dataplane.MatchProtocol{Protocol: 17}}, Action: accept},
		"protocol without a name":    {Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: 1}}, Action: accept},
		"mark outside its mask":      {Matches: []dataplane.Match{dataplane.MatchMark{Value: 3, Mask: 2}}, Action: accept},
		"unknown state":              {Matches: []dataplane.Match{dataplane.MatchState{States: "NEW,OLD"}}, Action: accept},
		"no state":                   {Matches: []dataplane.Match{dataplane.MatchState{}}, Action: accept},
		"set with a blank":           {Matches: []dataplane.Match{dataplane.MatchSet{Set: "a b", Fields: "src"}}, Action: accept},
		"set with odd fields":        {Matches: []dataplane.Match{dataplane.MatchSet{Set: "a", Fields: "src,port"}}, Action: accept},
		"map from odd fields":        {Action: dataplane.SetMarkFrom{Set: "a"}},
		"interface that is an option": {
			Matches: []dataplane.Match{dataplane.MatchInput{Interface: "-j"}}, Action: accept},
		"no chain":                  {Action: dataplane.GoTo{}},
		"no action":                 {},
		"unknown match":             {Matches: []dataplane.Match{nil}, Action: accept},
		"TCP reset for all":         {Action: dataplane.Reject{With: dataplane.TCPReset}},
		"unknown answer":            {Action: dataplane.Reject{With: 9}},
		"comment too long":          {Action: accept, Comment: strings.Repeat("x", 256)},
		"comment of several lines":  {Action: accept, Comment: "a\nCOMMIT"},
		"comment with a zero byte":  {Action: accept, Comment: "a\x00"},
		"comment that ends the row": {Action: accept, Comment: "a\r"},
	} {
		_, err := Render(dataplane.Ruleset{Family: dataplane.IPv4, Chains: []dataplane.Chain{
			{Table: dataplane.NAT, Name: "KUBE-A", Rules: []dataplane.Rule{{Action: accept}, rule}}}})
		requireError(t, err, dataplane.ErrInvalid, "IPv4 table nat chain KUBE-A rule 2: ")
		if t.Failed() {
			t.Fatalf("case %q", name)
		}
	}
	_, err := renderRule(dataplane.IPv6, "X", dataplane.Rule{Action: dataplane.Reject{With: dataplane.ProtocolUnreachable}})
	requireError(t, err, dataplane.ErrInvalid, "IPv6")
}

func TestLongestCommentIsKept(t *testing.T) {
	line, err := renderRule(dataplane.IPv4, "X", dataplane.Rule{Action: dataplane.Return{}, Comment: strings.Repeat("x", maxComment)})
	if err != nil || line != "-A X -m comment --comment "+strings.Repeat("x", maxComment)+" -j RETURN" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestStatesArePrintedInIptablesOrder(t *testing.T) {
	const printed = "-A X -m conntrack --ctstate INVALID,NEW,RELATED -m conntrack ! --ctstate SNAT,DNAT"
	if got := normalise("-A X -m conntrack --ctstate RELATED,NEW,INVALID,NEW -m conntrack ! --ctstate DNAT,SNAT"); got != printed {
		t.Errorf("normalise = %q, want %q", got, printed)
	}
}
