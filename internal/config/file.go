package config

import (
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

const kind = "KubeProxyConfiguration"

// Encode prints a configuration as the YAML file that Load reads.
func Encode(file *v1alpha1.KubeProxyConfiguration) ([]byte, error) {
	out := file.DeepCopy()
	out.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind))
	data, err := yaml.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("print the configuration as YAML: %w", err)
	}
	return data, nil
}

// WriteFile writes a configuration to a file, which everybody may read: it holds no secrets.
func WriteFile(path string, file *v1alpha1.KubeProxyConfiguration) error {
	data, err := Encode(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write the configuration: %w; give --write-config-to a path that can be written", err)
	}
	return nil
}

// readFile reads a file and fills in the defaults.
func readFile(path string, c *checker) (*v1alpha1.KubeProxyConfiguration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w; check --config and the volume it is mounted from", err)
	}
	file, unknown, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
	}
	for _, problem := range unknown {
		c.warn("%s: %s: overlooked, as kube-proxy does; correct or remove it", path, strings.Join(strings.Fields(problem.Error()), " "))
	}
	setDefaults(file)
	return file, nil
}

// decode reads a file strictly. If only that it is strict stands in the way (fields that are unknown or there twice),
// it reads leniently, as kube-proxy does for v1alpha1, and returns what was overlooked.
func decode(data []byte) (file *v1alpha1.KubeProxyConfiguration, overlooked []error, err error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, nil, fmt.Errorf("prepare for reading: %w", err)
	}
	object, err := decodeWith(scheme, serializer.EnableStrict, data)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		overlooked = strict.Errors()
		object, err = decodeWith(scheme, serializer.DisableStrict, data)
	}
	if runtime.IsMissingKind(err) || runtime.IsMissingVersion(err) || runtime.IsNotRegisteredError(err) {
		return nil, nil, fmt.Errorf("%w; the file must begin with apiVersion: %s and kind: %s",
			err, v1alpha1.SchemeGroupVersion, kind)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w; correct the YAML", err)
	}
	file, ok := object.(*v1alpha1.KubeProxyConfiguration)
	if !ok {
		return nil, nil, fmt.Errorf("it holds a %T; the kind must be %s", object, kind)
	}
	return file, overlooked, nil
}

func decodeWith(scheme *runtime.Scheme, strictness serializer.CodecFactoryOptionsMutator, data []byte) (runtime.Object, error) {
	codecs := serializer.NewCodecFactory(scheme, strictness)
	object, _, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	return object, err
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
