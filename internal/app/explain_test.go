package app

import (
	"io"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/admin"
)

// What explain and status cannot be asked has the status of what they cannot tell.
func TestWrongQuestionsAboutAddresses(t *testing.T) {
	for line, says := range map[string]string{
		"explain":                            "10.96.0.10:53/udp",
		"explain 10.0.0.1:80 10.0.0.2:80":    "10.96.0.10:53/udp",
		"explain 10.0.0.1":                   "no unicast address with a port",
		"explain 10.0.0.1:80/icmp":           "tcp, udp or sctp",
		"explain 10.0.0.1:80 --from web":     "the client",
		"explain 10.0.0.1:80 -o yaml":        "text or json",
		"explain 10.0.0.1:80 --no-such":      "kube-ipvs-proxy explain --help",
		"explain 10.0.0.1:80 --cleanup":      "unknown flag",
		"status web":                         "NAMESPACE/NAME",
		"status -o yaml":                     "text or json",
		"status --watch --interval 1ms":      "100ms",
		"status --watch --interval sometime": "kube-ipvs-proxy status --help",
	} {
		_, err := execute(t, strings.Fields(line)...)
		if err == nil || ExitStatus(err) != statusNoExplanation || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: status %d, error %v; want status %d and something about %s", line, ExitStatus(err), err, statusNoExplanation, says)
		}
	}
}

// Shells complete them, and they explain themselves by examples.
func TestCompletionOfQuestions(t *testing.T) {
	for line, want := range map[string][]string{
		"__complete exp":         {"explain"},
		"__complete sta":         {"status"},
		"__complete explain -o ": {"text", "json"},
		"__complete status -o ":  {"text", "json"},
		"explain --help":         {"Examples:", "--from", "Exit status: 0 a Service is served there, 1 none is, 2"},
		"status --help":          {"Examples:", "--watch", "NO_COLOR", "Exit status: 0 shown, 2"},
		"--help":                 {"explain", "status"},
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

// What is no terminal gets neither colours nor an emptied screen.
func TestPlainOutput(t *testing.T) {
	if got := paintFor(io.Discard)(admin.Alarm, "x") + clearScreen(io.Discard); got != "x" || linesOf(io.Discard) != 0 {
		t.Errorf("it is painted %q", got)
	}
}
