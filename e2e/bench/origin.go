package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// originOf describes where and of what a record is about to be made. The kernel is the guest's to say.
func originOf(o options, all []contestant) origin {
	at := origin{Begun: time.Now().UTC(), Machine: machine(), Load: loadAverages(), Programs: map[string]string{}}
	for _, c := range all {
		if c.program != "" {
			at.Programs[c.program] = programVersion(filepath.Join(o.Programs, c.program))
		}
	}
	at.Options = fmt.Sprintf("%+v -lab-flags '%s' -daemon-flags '%s'", o.phases, o.LabFlags, o.Flags)
	return at
}

// machine names the host's processors.
func machine() string {
	name := "unknown processors"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name")
		name, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	}
	return fmt.Sprintf("%d × %s (%s)", runtime.NumCPU(), strings.TrimSpace(name), runtime.GOARCH)
}

// loadAverages returns those of one, five and fifteen minutes.
func loadAverages() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

// kernelRelease returns that of the running kernel.
func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	text := func(field []byte) string { before, _, _ := bytes.Cut(field, []byte{0}); return string(before) }
	return text(name.Release[:]) + " " + text(name.Version[:])
}

// programVersion says what a program was built from: the commit or the module's version if it tells, else the commit that the
// working tree is at.
func programVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		if settings["vcs.modified"] == "true" {
			revision += "-dirty"
		}
		return revision
	}
	if version := info.Main.Version; version != "" && version != "(devel)" {
		return version
	}
	commit, err := exec.Command("git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return "tree at " + strings.TrimSpace(string(commit))
}
