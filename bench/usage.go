package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is the sum of several processes' use of the machine. It comes from /proc, so it
// works on Linux only.
type usage struct {
	cpu       time.Duration // user and system, since each began
	rss       int64         // bytes resident
	anonymous int64         // bytes of it that no file backs
}

// clockTick is the unit of times in /proc: USER_HZ, which Linux keeps at 100.
const clockTick = 10 * time.Millisecond

// usageOf returns the usage of processes; of none it is zero.
func usageOf(pids []int) (total usage, err error) {
	for _, pid := range pids {
		u, err := processUsage(pid)
		if err != nil {
			return usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
		}
		total.cpu += u.cpu
		total.rss += u.rss
		total.anonymous += u.anonymous
	}
	return total, nil
}

func processUsage(pid int) (u usage, err error) {
	folder := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(folder + "stat")
	if err != nil {
		return usage{}, err
	}
	if u.cpu, err = parseStat(stat); err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(folder + "status")
	if err != nil {
		return usage{}, err
	}
	if u.rss, err = statusBytes(status, "VmRSS:"); err != nil {
		return usage{}, err
	}
	if u.anonymous, err = statusBytes(status, "RssAnon:"); err != nil {
		return usage{}, err
	}
	return u, nil
}

// peakOf returns the most memory that each process had resident, summed.
func peakOf(pids []int) (total int64, err error) {
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		peak, err := statusBytes(status, "VmHWM:")
		if err != nil {
			return 0, err
		}
		total += peak
	}
	return total, nil
}

// descriptorsOf returns how many descriptors processes have open, summed.
func descriptorsOf(pids []int) (total int, err error) {
	for _, pid := range pids {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return 0, fmt.Errorf("count descriptors: %w", err)
		}
		total += len(names)
	}
	return total, nil
}

// parseStat returns the CPU time in a /proc/PID/stat (proc_pid_stat(5): fields
// 14 and 15, counted from the command's name, which may contain anything).
func parseStat(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("parse stat: too few fields")
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// statusBytes returns a figure of /proc/PID/status that is given in kB.
func statusBytes(status []byte, name string) (int64, error) {
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == name && string(fields[2]) == "kB" {
			n, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("parse status: no %s", name)
}

// ownCPU returns the CPU time that this program has used.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("usage of this program: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// Cost is a load's use of the machine.
type Cost struct {
	ServerCPU float64 `json:"serverCPUSeconds"` // all servers, 0 when their processes are not known
	ClientCPU float64 `json:"clientCPUSeconds"` // this program
	ServerRSS int64   `json:"serverRSSBytes"`   // at the end
}

// meter measures a Cost.
type meter struct {
	pids        []int
	server, own time.Duration
}

func startMeter(pids []int) (meter, error) {
	u, err := usageOf(pids)
	if err != nil {
		return meter{}, err
	}
	own, err := ownCPU()
	return meter{pids: pids, server: u.cpu, own: own}, err
}

// stop returns the cost since the meter was started.
func (m meter) stop() (Cost, error) {
	u, err := usageOf(m.pids)
	if err != nil {
		return Cost{}, err
	}
	own, err := ownCPU()
	return Cost{
		ServerCPU: (u.cpu - m.server).Seconds(),
		ClientCPU: (own - m.own).Seconds(),
		ServerRSS: u.rss,
	}, err
}
