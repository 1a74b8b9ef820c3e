package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, variables map[string]string, args ...string) (options, error) {
	t.Helper()
	return parseOptions(args, func(name string) string { return variables[name] }, io.Discard)
}

func TestParseOptionsKeepsTheCommandExactly(t *testing.T) {
	opt, err := parse(t, nil, "-vm", "-timeout", "3s", "--", "sh", "-c", "", "-v", "a b")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"sh", "-c", "", "-v", "a b"}; !slices.Equal(opt.command, want) {
		t.Errorf("command %q, want %q", opt.command, want)
	}
	if opt.mode != modeVM || opt.timeout != 3*time.Second || opt.verbose {
		t.Errorf("mode %s, timeout %v, verbose %t; want vm, 3s, false", opt.mode, opt.timeout, opt.verbose)
	}
}

func TestParseOptionsStopsAtTheCommand(t *testing.T) {
	opt, err := parse(t, nil, "/tmp/go-build1/b001/x.test", "-test.v", "-native")
	if err != nil {
		t.Fatal(err)
	}
	if opt.mode != modeAuto || len(opt.command) != 3 {
		t.Errorf("mode %s, command %q; want auto and 3 words", opt.mode, opt.command)
	}
}

func TestParseOptionsTakesDefaultsFromTheEnvironment(t *testing.T) {
	variables := map[string]string{
		"LAB_MODE": "vm", "LAB_FORWARD": "6443, 2379", "LAB_WITHOUT": "ip-vs-lc,dummy",
		"LAB_SHARE": "/a,/b", "LAB_JOBS": "3", "LAB_TIMEOUT": "1m", "LAB_CACHE": "/c",
	}
	opt, err := parse(t, variables, "-forward", "80", "true")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(opt.forward, []int{80}) {
		t.Errorf("forward %v, want the flag's 80", opt.forward)
	}
	if !slices.Equal(opt.without, []string{"ip_vs_lc", "dummy"}) || !slices.Equal(opt.share, []string{"/a", "/b"}) {
		t.Errorf("without %q, share %q", opt.without, opt.share)
	}
	if opt.mode != modeVM || opt.vm.jobs != 3 || opt.timeout != time.Minute || opt.cache != "/c" {
		t.Errorf("mode %s, jobs %d, timeout %v, cache %s", opt.mode, opt.vm.jobs, opt.timeout, opt.cache)
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	cases := map[string]struct {
		args      []string
		variables map[string]string
		want      string
	}{
		"no command":       {args: nil, want: "no command"},
		"both modes":       {args: []string{"-native", "-vm", "x"}, want: "exclude each other"},
		"native without":   {args: []string{"-native", "-without", "dummy", "x"}, want: "-without"},
		"bad port":         {args: []string{"-forward", "http", "x"}, want: "no TCP port"},
		"port range":       {args: []string{"-forward", "65536", "x"}, want: "no TCP port"},
		"bad mode":         {args: []string{"x"}, variables: map[string]string{"LAB_MODE": "kvm"}, want: "LAB_MODE"},
		"bad jobs":         {args: []string{"x"}, variables: map[string]string{"LAB_JOBS": "many"}, want: "LAB_JOBS"},
		"bad timeout":      {args: []string{"x"}, variables: map[string]string{"LAB_TIMEOUT": "7"}, want: "LAB_TIMEOUT"},
		"unknown flag":     {args: []string{"-nope", "x"}, want: "lab --help"},
		"negative timeout": {args: []string{"-timeout", "-1s", "x"}, want: "-timeout"},
		"little memory":    {args: []string{"-memory", "1", "x"}, want: "-memory"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, c.variables, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestHelpShowsExamples(t *testing.T) {
	var out strings.Builder
	_, err := parseOptions([]string{"--help"}, func(string) string { return "" }, &out)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "go test -exec") || !strings.Contains(out.String(), "-forward") {
		t.Errorf("error %v, help:\n%s", err, out.String())
	}
}

func TestChooseNative(t *testing.T) {
	cases := []struct {
		opt  options
		want bool
	}{
		{options{mode: modeNative}, true},
		{options{mode: modeVM}, false},
		{options{mode: modeAuto, without: []string{"dummy"}}, false},
	}
	for _, c := range cases {
		if got, why := chooseNative(c.opt); got != c.want || why == "" {
			t.Errorf("%+v: native %t because %q, want %t", c.opt, got, why, c.want)
		}
	}
}
