package config

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs-proxy/internal/service"
)

// Flags is the command line as given: kube-proxy's flags and our own.
type Flags struct {
	file v1alpha1.KubeProxyConfiguration // target of all flags that have a field in the file
	set  *pflag.FlagSet                  // nil until AddTo

	run   Run  // but for OOMScoreAdj
	api   API  // Master and Manifests
	ipvs  IPVS // DrainTimeout and NoFallback
	ports deprecatedPorts
	marks string
	most  metricsLimits
}

// deprecatedPorts are --healthz-port and --metrics-port.
type deprecatedPorts struct{ healthz, metrics int32 }

// metricsLimits are --service-metrics-limit and --endpoint-metrics-limit.
type metricsLimits struct{ services, endpoints int32 }

// defaultServiceMetrics is as many ports of Services as can have metrics of their own before an operator is asked: 35,000
// series, about 4 MB a scrape.
const defaultServiceMetrics = 5000

// defaultDrainTimeout is long enough for a download or a database session to end, and short enough that a selector that
// changed does not keep old pods busy for hours.
const defaultDrainTimeout = 15 * time.Minute

// NewFlags returns the flags at their defaults.
func NewFlags() *Flags {
	f := &Flags{
		ipvs:  IPVS{DrainTimeout: defaultDrainTimeout},
		ports: deprecatedPorts{healthzPort, metricsPort},
		marks: service.DefaultMarks().String(),
		most:  metricsLimits{services: defaultServiceMetrics},
	}
	setDefaults(&f.file)
	return f
}

// FieldAnnotation is under which a flag has the path of the field that says the same in the configuration file.
const FieldAnnotation = "kube-ipvs-proxy/field"

// AddTo defines all flags in a flag set, which must not have any of the same name.
func (f *Flags) AddTo(fs *pflag.FlagSet) { f.define(fs, f.table()) }

// AddSettingsTo defines the flags that say how a daemon works, for commands beside it that work the same out. It leaves out
// those that have the daemon do something else and end.
func (f *Flags) AddSettingsTo(fs *pflag.FlagSet) { f.define(fs, f.settings()) }

func (f *Flags) define(fs *pflag.FlagSet, flags []option) {
	f.set = fs
	for _, flag := range flags {
		flag.define(fs)
		if flag.field != "" {
			_ = fs.SetAnnotation(flag.name, FieldAnnotation, []string{flag.field}) // it was just defined
		}
	}
	_ = fs.MarkDeprecated("healthz-port", "use --healthz-bind-address")
	_ = fs.MarkDeprecated("metrics-port", "use --metrics-bind-address")
}

// Load reads the file of --config if there is one, and returns the configuration that file and flags add up to. It may
// be called again, to read a changed file. The error wraps ErrInvalid, or that of the file system. With --version nothing
// is read or checked, and only Run.ShowVersion is set.
func (f *Flags) Load(host Host) (Config, error) {
	if f.run.ShowVersion {
		return Config{Run: Run{ShowVersion: true}}, nil
	}
	var c checker
	file := f.file.DeepCopy()
	given := f.given()
	if f.run.ConfigFile == "" {
		c.flagOf = f.flagOf()
		f.ports.complete(file, given, &c)
		setNameDefaults(file)
	} else {
		var err error
		if file, err = readFile(f.run.ConfigFile, &c); err != nil {
			return Config{}, err
		}
		f.overlay(file, given, &c)
	}
	out := c.build(*file, host)
	f.addOwn(&out, &c)
	if err := c.err(); err != nil {
		return Config{}, err
	}
	out.Warnings = c.warnings
	return out, nil
}

// addOwn fills in what has no field in the file.
func (f *Flags) addOwn(out *Config, c *checker) {
	out.API.Master, out.API.Manifests = f.api.Master, f.api.Manifests
	out.IPVS.NoFallback, out.IPVS.DrainTimeout = f.ipvs.NoFallback, f.ipvs.DrainTimeout
	if f.ipvs.DrainTimeout < 0 {
		c.refuse("--drain-timeout", f.ipvs.DrainTimeout, "give 0, to cut connections at once, or more")
	}
	var err error
	if out.Masquerade.Marks, err = service.ParseMarkRange(f.marks, out.Masquerade.Mark); err != nil {
		c.refuse("--internal-marks", f.marks, "%v", err)
	}
	out.Serve.ServiceMetrics = c.number("--service-metrics-limit", &f.most.services, 0, math.MaxInt32)
	out.Serve.EndpointMetrics = c.number("--endpoint-metrics-limit", &f.most.endpoints, 0, math.MaxInt32)
	if out.Serve.ServiceMetrics == 0 && out.Serve.EndpointMetrics > 0 {
		c.warn("--endpoint-metrics-limit: no effect, because there are metrics only of the endpoints of Services that have some; " +
			"raise --service-metrics-limit")
	}
	out.Run = f.run
	if out.Run.KeepRival && !out.Run.Cleanup {
		c.refuse("--keep-kube-proxy", true, "it says what --cleanup leaves: give both, or neither")
	}
	if out.Run.Reload && out.Run.ConfigFile == "" {
		c.warn("--reload-config: no effect, because there is no file to follow; give one with --config")
	}
	out.Run.OOMScoreAdj = c.number("oomScoreAdj", out.File.OOMScoreAdj, -1000, 1000)
	if f.run.ConfigFile == "" {
		f.ports.turnOff(&out.Serve, f.run.WriteTo, c)
	}
}

// given returns the names of the flags on the command line.
func (f *Flags) given() map[string]bool {
	given := make(map[string]bool)
	if f.set != nil {
		f.set.Visit(func(flag *pflag.Flag) { given[flag.Name] = true })
	}
	return given
}

// flagOf maps the path of a field in the file to the flag that sets it.
func (f *Flags) flagOf() map[string]string {
	names := make(map[string]string)
	for _, flag := range f.table() {
		if _, named := names[flag.field]; flag.field != "" && !named {
			names[flag.field] = "--" + flag.name
		}
	}
	return names
}

// option describes one flag. Its value is shown as the default in the help.
type option struct {
	name   string
	field  string // path of the same setting in the file; empty if it has none
	target any    // pointer to the value, or a pflag.Value
	usage  string // a line
}

// define adds the flag to the set.
func (d option) define(fs *pflag.FlagSet) {
	switch p := d.target.(type) {
	case *bool:
		fs.BoolVar(p, d.name, *p, d.usage)
	case *string:
		fs.StringVar(p, d.name, *p, d.usage)
	case *[]string:
		fs.StringSliceVar(p, d.name, *p, d.usage)
	case *int32:
		fs.Int32Var(p, d.name, *p, d.usage)
	case *float32:
		fs.Float32Var(p, d.name, *p, d.usage)
	case *time.Duration:
		fs.DurationVar(p, d.name, *p, d.usage)
	case *versionValue:
		fs.Var(p, d.name, d.usage)
		fs.Lookup(d.name).NoOptDefVal = "true"
	case pflag.Value:
		short := ""
		if len(d.name) == 1 {
			short = d.name
		}
		fs.VarP(p, d.name, short, d.usage)
	}
}

// overlay brings what wins over the file into it, and warns of flags that are given in vain.
func (f *Flags) overlay(file *v1alpha1.KubeProxyConfiguration, given map[string]bool, c *checker) {
	c.flagOf = make(map[string]string)
	var vain []string
	for _, flag := range f.table() {
		switch {
		case !given[flag.name] || flag.field == "":
		case flag.field == "hostnameOverride":
			if f.file.HostnameOverride != "" {
				file.HostnameOverride = f.file.HostnameOverride
				c.flagOf[flag.field] = "--" + flag.name
			}
		case strings.HasPrefix(flag.field, "logging."):
			c.flagOf[flag.field] = "--" + flag.name
		default:
			vain = append(vain, "--"+flag.name)
		}
	}
	f.overlayLogging(&file.Logging, given)
	if len(vain) > 0 {
		c.warn("%s: ignored, because with --config such settings come from the file; set them in %s",
			strings.Join(vain, ", "), f.run.ConfigFile)
	}
}

// complete applies the deprecated ports: to an address without a port, and to one that was not given at all.
func (p deprecatedPorts) complete(file *v1alpha1.KubeProxyConfiguration, given map[string]bool, c *checker) {
	for _, l := range []struct {
		name    string
		port    int32
		address *string
	}{
		{"healthz", p.healthz, &file.HealthzBindAddress},
		{"metrics", p.metrics, &file.MetricsBindAddress},
	} {
		if l.port == 0 {
			continue
		}
		if host, _, err := net.SplitHostPort(*l.address); err == nil && given[l.name+"-port"] && !given[l.name+"-bind-address"] {
			*l.address = host
			c.flagOf[l.name+"BindAddress"] = "--" + l.name + "-port"
		}
		*l.address = withPort(*l.address, l.port)
	}
}

// turnOff takes away the listeners whose port is 0, which the file has no way to say.
func (p deprecatedPorts) turnOff(serve *Serve, writeTo string, c *checker) {
	var off []string
	if p.healthz == 0 {
		serve.Healthz, off = "", append(off, "--healthz-port=0")
	}
	if p.metrics == 0 {
		serve.Metrics, off = "", append(off, "--metrics-port=0")
	}
	if writeTo != "" && len(off) > 0 {
		c.warn("%s: not in %s, because a file has no way to turn a listener off", strings.Join(off, ", "), writeTo)
	}
}

// versionValue is --version: a switch that also takes kube-proxy's "raw".
type versionValue bool

// String returns the value as Set takes it.
func (v *versionValue) String() string { return fmt.Sprint(bool(*v)) }

// Type names the kind of value in the help.
func (v *versionValue) Type() string { return "version" }

// Set reads a value.
func (v *versionValue) Set(s string) error {
	if s == "raw" {
		*v = true
		return nil
	}
	value, err := strconv.ParseBool(s)
	*v = versionValue(value)
	return err
}
