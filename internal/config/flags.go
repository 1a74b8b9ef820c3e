package config

import (
	"github.com/spf13/pflag"
)

// Flags is the command line as given.
type Flags struct{}

// NewFlags returns the flags at their defaults.
func NewFlags() *Flags { return &Flags{} }

// AddTo defines all flags in a flag set, which must not have any of the same name.
func (f *Flags) AddTo(fs *pflag.FlagSet) {}

// Load reads the file of --config if there is one, and returns the configuration that file and flags add up to. It may
// be called again, to read a changed file. The error wraps ErrInvalid, or that of the file system.
func (f *Flags) Load(host Host) (Config, error) { return Config{}, nil }
