package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/reconcile"
)

const (
	explainSummary = "Say what becomes of connections to an address and port, and why"
	explainDetails = `explain says which Service is served at an address and port, and by which kind of address; what becomes of new connections
from a pod of this node and from a client outside, or from the one that --from names; which endpoints they get and, of the
others, why not; whether the endpoint sees the client's address; and which rules and entries of sets decide all that. Where
no Service is served it says what the address is.

The packet filter's rules are worked through as the kernel does, with what the daemon wants in the sets. Rules of others,
such as network policies, are not looked at; whether the kernel has what is wanted is for verify to say. Connections that
exist already may go elsewhere. It asks the daemon of this network namespace; when none runs, it works the same out by itself from
the flags, which are the daemon's, and needs root for that, as the daemon does.

Exit status: 0 a Service is served there, 1 none is, 2 it could not tell.`
	explainExamples = `  kube-ipvs-proxy explain 10.96.0.10:53/udp
  kube-ipvs-proxy explain 192.168.1.10:30080 --from 10.244.1.7
  kube-ipvs-proxy explain '[fd00:96::a]:443' -o json`
)

// Exit statuses of explain, apart from 0 for an address at which a Service is served.
const (
	statusNoService     = 1 // no Service is served at the address and port
	statusNoExplanation = 2 // it could not tell, or the command line is wrong
)

func explainCommand() *cobra.Command {
	flags, format, from := config.NewFlags(), "text", ""
	command := &cobra.Command{
		Use:               "explain ADDRESS:PORT[/tcp|/udp|/sctp]",
		Short:             explainSummary,
		Long:              explainDetails,
		Example:           explainExamples,
		Args:              oneAddress,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, arguments []string) error {
			return explain(command.Context(), flags, request{arguments[0], from, format}, command.OutOrStdout())
		},
	}
	flags.AddSettingsTo(command.Flags())
	command.Flags().StringVar(&from, "from", from, "address of the client")
	addOutput(command, &format)
	_ = command.RegisterFlagCompletionFunc("from", cobra.NoFileCompletions)
	return command
}

// addOutput adds the flag that chooses between text and JSON.
func addOutput(command *cobra.Command, format *string) {
	command.Flags().StringVarP(format, "output", "o", *format, "text or json")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// checkOutput refuses other formats.
func checkOutput(format string) error {
	if format != "text" && format != "json" {
		return withStatus(statusConfig, fmt.Errorf("--output %q: give text or json", format))
	}
	return nil
}

// printJSON prints a value for programs, and for people who read it.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func oneAddress(command *cobra.Command, arguments []string) error {
	if err := cobra.ExactArgs(1)(command, arguments); err != nil {
		return withStatus(statusNoExplanation, fmt.Errorf("%w: give ADDRESS:PORT, for example 10.96.0.10:53/udp", err))
	}
	return nil
}

// request is what explain is asked, as it was typed.
type request struct{ to, from, format string }

// explain prints what becomes of connections. That no Service is served is an error, so that the exit status tells.
func explain(ctx context.Context, flags *config.Flags, asked request, out io.Writer) error {
	if err := checkOutput(asked.format); err != nil {
		return err
	}
	question, err := admin.ParseQuestion(asked.to, asked.from)
	if err != nil {
		return withStatus(statusNoExplanation, err)
	}
	said, err := findExplanation(ctx, flags, question)
	if err != nil {
		return withStatus(statusNoExplanation, fmt.Errorf("cannot tell what becomes of connections to %s: %w", question, err))
	}
	if asked.format == "json" {
		err = printJSON(out, said)
	} else {
		_, err = io.WriteString(out, printable(said.String()))
	}
	if err != nil {
		return withStatus(statusNoExplanation, err)
	}
	if !said.Found {
		return withStatus(statusNoService, fmt.Errorf("no Service is served at %s", question))
	}
	return nil
}

// findExplanation asks the daemon or, if none runs, works it out from the flags.
func findExplanation(ctx context.Context, flags *config.Flags, question admin.Question) (admin.Explanation, error) {
	query := url.Values{"to": {question.String()}}
	if question.From.IsValid() {
		query.Set("from", question.From.String())
	}
	var said admin.Explanation
	err := askDaemon(ctx, lockName, "/explain?"+query.Encode(), &said)
	if errors.Is(err, errNoDaemon) {
		return workOut(ctx, flags, func(ctx context.Context, answers admin.Answers) (admin.Explanation, error) {
			return answers.Explain(ctx, question)
		})
	}
	said.Daemon = true
	return said, err
}

// explainOf returns the function that answers questions about what a reconciler wants.
func explainOf(reconciler *reconcile.Reconciler, cfg config.Config) func(context.Context, admin.Question) (admin.Explanation, error) {
	settings := settingsOf(cfg)
	return func(ctx context.Context, question admin.Question) (admin.Explanation, error) {
		view, err := reconciler.View(ctx)
		if err != nil {
			return admin.Explanation{}, err
		}
		if !view.Complete {
			return admin.Explanation{}, errIncomplete
		}
		services := reconciler.Services(question.Concerns)
		return admin.Explain(admin.Case{View: view, Services: services, Settings: settings, Compile: compileRules}, question)
	}
}
