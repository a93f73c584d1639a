// Package grammar has what the parsers of Caddyfile options share, so that all
// say in the same words what is wrong and what is allowed.
package grammar

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// Options are what a block allows, by name. A parser finds d at the option's
// name and consumes its line and block.
type Options map[string]func(d *caddyfile.Dispenser) error

// Parse reads the block that d stands before. repeatable options may be
// written more than once.
func (o Options) Parse(d *caddyfile.Dispenser, repeatable ...string) error {
	return o.ParseBeside(nil, "", d, repeatable...)
}

// ParseBeside is Parse where another block is called the same: an option of
// others belongs there.
func (o Options) ParseBeside(others Options, belongs string, d *caddyfile.Dispenser, repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		parse, known := o[name]
		if _, misplaced := others[name]; misplaced {
			return d.Errf("%s %s", name, belongs)
		}
		if !known {
			return d.Errf("unrecognized option %q; allowed: %s", name, strings.Join(slices.Sorted(maps.Keys(o)), ", "))
		}
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("%s is written twice; write it once", name)
		}
		seen[name] = true
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// OneArg returns the only argument of the option that d stands at.
func OneArg(d *caddyfile.Dispenser, usage string) (string, error) {
	option := d.Val()
	arg, err := OneArgBeforeBlock(d, usage)
	if err != nil {
		return "", err
	}
	return arg, NoBlock(d, option)
}

// OneArgBeforeBlock is OneArg of an option that takes a block too, which it
// doesn't read.
func OneArgBeforeBlock(d *caddyfile.Dispenser, usage string) (string, error) {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.Errf("%s takes one value; write `%s %s`", option, option, usage)
	}
	if args[0] == "" {
		return "", d.Errf("%s is empty; write `%s %s`", option, option, usage)
	}
	return args[0], nil
}

// SomeArgs returns the arguments, at least one, of the option that d stands at.
func SomeArgs(d *caddyfile.Dispenser, usage string) ([]string, error) {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%s takes at least one value; write `%s %s`", option, option, usage)
	}
	return args, NoBlock(d, option)
}

// OnOff returns the only argument of the option that d stands at.
func OnOff(d *caddyfile.Dispenser) (*bool, error) {
	option := d.Val()
	value, err := OneArg(d, "on|off")
	if err != nil {
		return nil, err
	}
	if value != "on" && value != "off" {
		return nil, d.Errf("%s: %q is not known; allowed: on, off", option, value)
	}
	on := value == "on"
	return &on, nil
}

// Pair reads the option that d stands at and its two values, a key and what is
// stored under it.
func Pair(d *caddyfile.Dispenser, pairs *map[string]string, key, value string, check func(key string) error) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return d.Errf("%s takes two values; write `%s %s %s`", option, option, key, value)
	}
	if err := check(args[0]); err != nil {
		return At(d, err)
	}
	if _, taken := (*pairs)[args[0]]; taken {
		return d.Errf("%s %s is written twice; write it once", option, args[0])
	}
	if *pairs == nil {
		*pairs = make(map[string]string)
	}
	(*pairs)[args[0]] = args[1]
	return NoBlock(d, option)
}

// Claim reads `claim <name> <source>` into claims.
func Claim(d *caddyfile.Dispenser, claims *map[string]string, source string) error {
	return Pair(d, claims, "<name>", source, func(name string) error { return signin.CheckClaimNames(name) })
}

// NoBlock says that an option takes no block, if there is one.
func NoBlock(d *caddyfile.Dispenser, option string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s takes no block", option)
	}
	return nil
}

// At adds file and line to what is wrong there.
func At(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.Errf("%v", err)
}

// AtFirst is At for the first of the values that check finds wrong.
func AtFirst(d *caddyfile.Dispenser, values []string, check func(string) error) error {
	for _, value := range values {
		if err := check(value); err != nil {
			return At(d, err)
		}
	}
	return nil
}

// HasPlaceholder tells whether text is known only once placeholders are
// replaced.
func HasPlaceholder(text string) bool { return strings.Contains(text, "{") }
