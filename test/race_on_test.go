//go:build race

package test

// raceEnabled makes the nodes of the tests run under the race detector too.
const raceEnabled = true
