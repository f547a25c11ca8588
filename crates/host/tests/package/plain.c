/* The package of connector.toml as an MCP server in another language: one message a line on standard
 * input and output, and nothing else. It knows the few messages that a host sends, and no JSON. */
#include <stdio.h>
#include <string.h>

static char line[1 << 20];

/* The request's id as it stands there: a number. */
static long id(void) {
    long number = 0;
    const char *at = strstr(line, "\"id\":");
    return at && sscanf(at + 5, "%ld", &number) == 1 ? number : -1;
}

static int is(const char *method) {
    char text[64];
    snprintf(text, sizeof text, "\"method\":\"%s\"", method);
    return strstr(line, text) != NULL;
}

static void answer(const char *result) {
    printf("{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":%s}\n", id(), result);
    fflush(stdout);
}

int main(void) {
    while (fgets(line, sizeof line, stdin)) {
        if (is("initialize"))
            answer("{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},"
                   "\"serverInfo\":{\"name\":\"plain\",\"version\":\"1\"}}");
        else if (is("tools/list"))
            answer("{\"tools\":["
                   "{\"name\":\"work\",\"description\":\"Does what it is told.\","
                   "\"inputSchema\":{\"type\":\"object\",\"properties\":{\"task\":{\"type\":\"string\"}},"
                   "\"required\":[\"task\"]},\"annotations\":{\"readOnlyHint\":false}},"
                   "{\"name\":\"look\",\"description\":\"Looks.\",\"inputSchema\":{\"type\":\"object\"},"
                   "\"annotations\":{\"readOnlyHint\":true}}]}");
        else if (is("tools/call"))
            answer("{\"content\":[{\"type\":\"text\",\"text\":\"swept in C\"}]}");
        else if (is("ping"))
            answer("{}");
    }
    return 0;
}
