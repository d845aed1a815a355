package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// didYouMean returns a question with the known words that a word may stand for; empty if there are
// none.
func didYouMean(word string, known []string) string {
	const most = 3
	word = strings.ToLower(word)
	near := make(map[string]int) // by word, the distance
	for _, k := range known {
		d := distance(word, strings.ToLower(k))
		if d <= max(1, min(len(word), len(k))/3) || len(word) > 2 && strings.HasPrefix(k, word) {
			near[k] = d
		}
	}
	if len(near) == 0 {
		return ""
	}
	words := make([]string, 0, len(near))
	for k := range near {
		words = append(words, k)
	}
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(near[a]-near[b], cmp.Compare(a, b)) })
	return "; did you mean " + strings.Join(words[:min(most, len(words))], " or ") + "?"
}

// distance returns how many letters have to be changed, added, left out or swapped with their
// neighbour to make one word of the other.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j]+change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// unknownCommand is the error of a word that is no command of a group. Among its suggestions are
// commands of other groups with that very name.
func unknownCommand(group *cobra.Command, word string) error {
	var known []string
	for _, sub := range group.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	hint := didYouMean(word, known)
	if hint == "" {
		var elsewhere []string
		walkCommands(group.Root(), func(cmd *cobra.Command) {
			if cmd.Name() == word && cmd.Parent() != group {
				elsewhere = append(elsewhere, cmd.CommandPath())
			}
		})
		if len(elsewhere) > 0 && len(elsewhere) <= 3 {
			hint = "; did you mean " + strings.Join(elsewhere, " or ") + "?"
		}
	}
	return misuse{fmt.Errorf("unknown command %q of %s%s", word, group.CommandPath(), hint)}
}

func walkCommands(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walkCommands(sub, visit)
	}
}

// flagNames returns the names of flags.
func flagNames(flags *pflag.FlagSet) (names []string) {
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// ofKubernetes matches the names of variables that Kubernetes gives a container for each service
// of its name space, such as one that is called aptlyd.
var ofKubernetes = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$`)

// unknownVariables returns the variables of the environment that begin as ours do and that no
// command reads, each with what it may stand for.
func unknownVariables(root *cobra.Command) (unknown []string) {
	var known []string
	walkCommands(root, func(cmd *cobra.Command) {
		for _, name := range flagNames(cmd.Flags()) {
			known = append(known, envName(name))
		}
	})
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envName("")) || slices.Contains(known, name) || ofKubernetes.MatchString(name) {
			continue
		}
		unknown = append(unknown, name+didYouMean(name, known))
	}
	slices.Sort(unknown)
	return unknown
}
