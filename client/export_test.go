package client

// Lines returns how many lines of [Client.Wait] there are.
func Lines(c *Client) int {
	c.waits.mu.Lock()
	defer c.waits.mu.Unlock()
	return len(c.waits.lines)
}
