package fsm

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// maxRecordID bounds the ids of keys and admin tokens. They are keys of the state file,
// which takes no more than 32 KiB for one.
const maxRecordID = 256

// Check returns the feature level of a command, or why it must not enter the log. A
// committed command cannot be refused any more: one that no node can decode or store would
// stop all nodes at every start.
//
// Check also reads the message of a foreign command, which comes from another node. This
// node's gateway has read the others.
func (s *State) Check(command []byte, foreign bool) (level uint32, err error) {
	return check(command, foreign)
}

func check(command []byte, foreign bool) (level uint32, err error) {
	p, isPublish, err := decodePublish(command, &senderCheck{})
	switch {
	case isPublish && err == nil && foreign:
		err = p.checkMessage()
	case !isPublish:
		var c any
		if _, c, err = decodeCommand(command); err == nil {
			err = checkControl(c)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("op %d: %w", opOf(command), err)
	}
	return LevelOf(command), nil
}

// ValidMessage reports whether data is one JSON value as clients may send it.
func ValidMessage(data []byte) bool { return strictjson.Valid(data) }

// ValidChannel reports whether the names of a channel are within bounds.
func ValidChannel(key ChannelKey) bool {
	return namable(key.Project, maxProjectID) && namable(key.Name, maxChannelName)
}

// checkMessage refuses a message that subscribers could not read.
func (p *publication) checkMessage() error {
	if !ValidMessage(p.data) {
		return fmt.Errorf("the message is not one JSON value: %w", ErrInvalid)
	}
	return nil
}

// checkControl refuses a command that the state could not keep.
func checkControl(command any) error {
	switch c := command.(type) {
	case *Init:
		return firstOf(checkProject(&c.Project), checkKeys(c.Keys))
	case *CreateProject:
		return firstOf(checkProject(&c.Project), checkKeys(c.Keys))
	case *UpdateProject:
		if c.Rules != nil {
			return checkRules(*c.Rules)
		}
	case *CreateKey:
		return checkStoredKey(&c.Key)
	case *RotateKey:
		return checkStoredKey(&c.Key)
	case *UpdateSettings:
		if c.MaxBytes != nil && *c.MaxBytes < 0 {
			return fmt.Errorf("cap of %d bytes: %w", *c.MaxBytes, ErrInvalid)
		}
	case *CreateAdminToken:
		return firstOf(checkID(c.Token.ID), checkID(c.Token.Parent), checkTimes(c.Token.ExpiresAt, c.Token.LastUsedAt))
	case *AddUsage:
		return c.check()
	case *KeysUsed:
		for _, use := range c.Used {
			if err := firstOf(checkID(use.ID), checkTimes(use.At)); err != nil {
				return err
			}
		}
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkProject(p *Project) error { return checkRules(p.Rules) }

// The largest numbers of a rule with which the arithmetic of retention is safe.
const (
	maxRuleMessages = 1_000_000_000
	maxRuleAge      = 100 * 365 * 24 * time.Hour
)

func checkRules(rules []Rule) error {
	for _, r := range rules {
		if r.KeepMessages < 0 || r.KeepMessages > maxRuleMessages || r.KeepFor < 0 || r.KeepFor > maxRuleAge ||
			r.KeepBytes < 0 || r.Initial.Last < 0 || r.Initial.Last > maxRuleMessages {
			return fmt.Errorf("rule of pattern %q has a number out of bounds: %w", r.Pattern, ErrInvalid)
		}
		if r.Durability != DurabilityQuorum && r.Durability != DurabilityMemory {
			return fmt.Errorf("rule of pattern %q has durability %q: %w", r.Pattern, r.Durability, ErrInvalid)
		}
	}
	return nil
}

func checkKeys(keys []Key) error {
	for i := range keys {
		if err := checkStoredKey(&keys[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkStoredKey(k *Key) error {
	if k.Kind != PublicKey && k.Kind != ServerKey {
		return fmt.Errorf("key of kind %q: %w", k.Kind, ErrInvalid)
	}
	return firstOf(checkID(k.ID), checkID(k.Replaces), checkTimes(k.ExpiresAt, k.LastUsedAt))
}

func checkID(id string) error {
	if len(id) > maxRecordID || !utf8.ValidString(id) {
		return fmt.Errorf("id of %d bytes: %w", len(id), ErrInvalid)
	}
	return nil
}

func checkTimes(stamps ...int64) error {
	for _, stamp := range stamps {
		if stamp < 0 {
			return fmt.Errorf("time %d: %w", stamp, ErrInvalid)
		}
	}
	return nil
}
