package redistest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Cluster is a Redis Cluster whose nodes are masters, each behind a proxy: the
// nodes announce the addresses of the proxies, so clients go through them.
type Cluster struct {
	Nodes   []*Server
	Proxies []*Proxy // of the node with the same index
}

// StartCluster starts a cluster of that many masters and waits until it
// answers, which takes about a second.
func StartCluster(tb testing.TB, masters int) *Cluster {
	tb.Helper()
	c := &Cluster{}
	var buses []string
	for i := range masters {
		_, bus, _ := net.SplitHostPort(freeAddr(tb))
		node := &Server{Addr: freeAddr(tb), tb: tb}
		proxy := StartProxy(tb, node.Addr)
		_, announced, _ := net.SplitHostPort(proxy.Addr)
		node.args = []string{
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000",
			"--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", announced, "--cluster-announce-bus-port", bus,
		}
		node.Restart()
		tb.Cleanup(node.Kill)
		const slots = 16384
		node.MustDo(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", slots*i/masters, slots*(i+1)/masters-1))
		node.MustDo(fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
		c.Nodes, c.Proxies, buses = append(c.Nodes, node), append(c.Proxies, proxy), append(buses, bus)
	}
	for i := 1; i < masters; i++ {
		host, port, _ := net.SplitHostPort(c.Nodes[i].Addr)
		c.Nodes[0].MustDo(fmt.Sprintf("CLUSTER MEET %s %s %s", host, port, buses[i]))
	}
	for _, node := range c.Nodes { // until it knows of all the others
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if reply, err := node.Do("EXISTS key"); err == nil && !strings.HasPrefix(reply, "-CLUSTERDOWN") {
				break
			}
			if time.Now().After(deadline) {
				tb.Fatal("the nodes of the cluster did not find each other within 20 s")
			}
		}
	}
	return c
}

// URL returns the cluster's redis+cluster:// URL.
func (c *Cluster) URL() string {
	var addrs []string
	for _, p := range c.Proxies {
		addrs = append(addrs, p.Addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// MustDo sends a command to every node.
func (c *Cluster) MustDo(command string) {
	for _, node := range c.Nodes {
		node.tb.Helper()
		node.MustDo(command)
	}
}
