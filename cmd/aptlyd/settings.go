package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envName returns the environment variable of a flag: APTLYD_PEER_LISTEN for
// --peer-listen.
func envName(flag string) string {
	return "APTLYD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fillFlags sets the flags that the command line did not set, from the environment or else
// from the YAML file at path (none if empty). The error names the wrong variable or key.
func fillFlags(flags *pflag.FlagSet, path string) error {
	fromFile, err := readSettings(flags, path)
	if err != nil {
		return misuse{err}
	}
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		if value, ok := os.LookupEnv(envName(f.Name)); ok {
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", envName(f.Name), sayFlagError(err)))
			}
		} else if value, ok := fromFile[f.Name]; ok {
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("--config %s: %w", path, sayFlagError(err)))
			}
		}
	})
	if len(errs) > 0 {
		return misuse{errors.Join(errs...)}
	}
	return nil
}

// readSettings reads a YAML file of flag names and values. Lists become
// comma-separated values.
func readSettings(flags *pflag.FlagSet, path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, fmt.Errorf("--config %s: %w", path, pathErr.Err)
		}
		return nil, fmt.Errorf("--config: %w", err)
	}
	var file map[string]yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("--config %s: %w", path, err)
	}
	settings := make(map[string]string, len(file))
	for name, value := range file {
		if flags.Lookup(name) == nil || name == "config" || name == "help" {
			return nil, fmt.Errorf("--config %s: line %d: %q is not a setting%s", path, value.Line, name,
				didYouMean(name, flagNames(flags)))
		}
		switch value.Kind {
		case yaml.ScalarNode:
			settings[name] = value.Value
		case yaml.SequenceNode:
			items := make([]string, len(value.Content))
			for i, item := range value.Content {
				items[i] = item.Value
			}
			settings[name] = strings.Join(items, ",")
		default:
			return nil, fmt.Errorf("--config %s: line %d: %s takes one value or a list", path, value.Line, name)
		}
	}
	return settings, nil
}

// sayFlagError describes in the operator's words why a flag's value is wrong.
func sayFlagError(err error) error {
	var wrong *pflag.InvalidValueError
	if !errors.As(err, &wrong) {
		return err
	}
	flag := wrong.GetFlag()
	expected := map[string]string{
		"bool":     "neither true nor false",
		"duration": `no time with its unit, such as "10s"`,
		"int":      "not a whole number",
		"int64":    "not a whole number",
		"uint":     "not a whole number from 0",
		"uint64":   "not a whole number from 0",
	}[flag.Value.Type()]
	if expected == "" {
		return fmt.Errorf("--%s: %w", flag.Name, wrong.Unwrap())
	}
	return fmt.Errorf("--%s: %q is %s", flag.Name, wrong.GetValue(), expected)
}
