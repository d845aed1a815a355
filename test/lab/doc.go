// Package lab makes what tests break: disks and networks of their own. It knows
// nothing of aptlyd.
package lab
