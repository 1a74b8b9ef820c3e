package app

import (
	"strings"
	"testing"
)

// execute runs a command line and returns what it printed.
func execute(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	command := NewCommand()
	command.SetArgs(arguments)
	command.SetOut(&out)
	command.SetErr(&out)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// What cannot be asked for is a wrong command line, also to verify, whose status 1 means something else.
func TestWrongQuestions(t *testing.T) {
	for line, says := range map[string]string{
		"render":             "addresses",
		"render everything":  "addresses",
		"render ipvs ipset":  "addresses",
		"render --nonsense":  "--help",
		"verify everything":  "everything",
		"verify -o yaml":     "text or json",
		"verify --no-such=1": "kube-ipvs-proxy verify --help",
		// What has the daemon do something else is not verify's, which would go on as if it had not been said.
		"verify --cleanup":                "unknown flag: --cleanup",
		"verify --version":                "unknown flag: --version",
		"verify --init-only":              "unknown flag: --init-only",
		"--cleanup verify":                "unknown flag: --cleanup",
		"render ipvs --keep-kube-proxy":   "unknown flag: --keep-kube-proxy",
		"render ipvs --write-config-to=x": "unknown flag: --write-config-to",
	} {
		_, err := execute(t, strings.Fields(line)...)
		if err == nil || ExitStatus(err) != statusConfig || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: status %d, error %v; want status %d and something about %s", line, ExitStatus(err), err, statusConfig, says)
		}
	}
}

// Shells can complete commands and what they are asked for; every command explains itself by examples.
func TestCompletionAndHelp(t *testing.T) {
	for line, want := range map[string][]string{
		"completion bash":       {"bash completion", "__complete"},
		"__complete ver":        {"verify"},
		"__complete render i":   renderings()[:4],
		"__complete verify -o ": {"text", "json"},
		"render --help":         {"Examples:", "diff <(ipvsadm -Sn)"},
		"verify --help":         {"Examples:", "Exit status: 0 equal, 1 different, 2"},
		"--help":                {"render", "verify", "--" + ignoreFlag},
	} {
		arguments := strings.Fields(line)
		if strings.HasSuffix(line, " ") {
			arguments = append(arguments, "")
		}
		printed, err := execute(t, arguments...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for _, part := range want {
			if !strings.Contains(printed, part) {
				t.Errorf("%s prints no %q:\n%s", line, part, printed)
			}
		}
	}
}
