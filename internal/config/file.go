package config

import "k8s.io/kube-proxy/config/v1alpha1"

// Encode prints a configuration as the YAML file that Load reads.
func Encode(file *v1alpha1.KubeProxyConfiguration) ([]byte, error) { return nil, nil }
