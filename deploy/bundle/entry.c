/*
 * bin/NAME of a bundle: starts the bundle's interpreter with what libexec/start/NAME.py says, wherever the bundle lies.
 *
 * A static program, because a script needs a shell at a known path and a dynamic program needs a loader at one: a node
 * may have neither. It becomes
 *
 *     ROOT/lib/coracle-loader --inhibit-cache --library-path ROOT/lib --argv0 ROOT/bin/python3 ROOT/libexec/python3
 *         -I -S -X utf8 ROOT/libexec/start/NAME.py ARGUMENTS
 *
 * and, as bin/python3, the same without the last line: that is what sys.executable names, so that a child started
 * from it works like any other.
 *
 * What enters containers must not be a file of the host (CVE-2019-5736, oci/sealed.py): coracle-oci executes a sealed
 * copy of the loader. Done here it costs a tenth of a millisecond; done in Python it costs a second start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "coracle: %s: %s: %s\n", path, what, strerror(errno));
    exit(127);
}

static char *join(const char *root, const char *leaf, const char *suffix)
{
    char *path = malloc(strlen(root) + strlen(leaf) + strlen(suffix) + 1);

    if (!path)
        fail("no memory", leaf);
    strcpy(path, root);
    strcat(path, leaf);
    return strcat(path, suffix);
}

/* Our own file: links in its path are resolved, so that the bundle's version stays the one that was started. */
static void find_self(char *self)
{
    ssize_t length = readlink("/proc/self/exe", self, PATH_MAX - 1);

    if (length > 0)
        self[length] = '\0';
    else if (!realpath((const char *)getauxval(AT_EXECFN), self)) /* no /proc: as we were called */
        fail("cannot be found", "/proc/self/exe");
}

/* A sealed copy of the file in memory, or -1 where the host forbids it; coracle-oci says so then. */
static int sealed(const char *path)
{
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int copy = memfd_create("coracle", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    struct stat status;
    off_t offset = 0;

    if (copy < 0 && errno == EINVAL) /* Linux before 6.3 */
        copy = memfd_create("coracle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0 || copy < 0 || fstat(file, &status) < 0)
        return -1;
    while (offset < status.st_size)
        if (sendfile(copy, file, &offset, status.st_size - offset) <= 0)
            return -1;
    close(file);
    return fcntl(copy, F_ADD_SEALS, seals) < 0 ? -1 : copy;
}

int main(int argc, char **argv, char **environment)
{
    char root[PATH_MAX], memory[32];
    const char *name;
    char **command, *loader, *slash;
    int count = 0, copy = -1;

    find_self(root);
    slash = strrchr(root, '/');
    *slash = '\0';
    name = slash + 1;
    slash = strrchr(root, '/'); /* before "bin" */
    if (!slash)
        fail("is not in the bin directory of a bundle", name);
    *slash = '\0';

    loader = join(root, "/lib/coracle-loader", "");
    command = calloc(argc + 13, sizeof *command);
    if (!command)
        fail("no memory", loader);
    command[count++] = loader;
    command[count++] = "--inhibit-cache";
    command[count++] = "--library-path";
    command[count++] = join(root, "/lib", "");
    command[count++] = "--argv0";
    command[count++] = join(root, "/bin/python3", "");
    command[count++] = join(root, "/libexec/python3", "");
    if (strcmp(name, "python3") != 0) {
        command[count++] = "-I";
        command[count++] = "-S";
        command[count++] = "-X";
        command[count++] = "utf8";
        command[count++] = join(root, join("/libexec/start/", name, ""), ".py");
    }
    for (int position = 1; position < argc; position++)
        command[count++] = argv[position];

    if (strcmp(name, "coracle-oci") == 0)
        copy = sealed(loader);
    if (copy >= 0) {
        snprintf(memory, sizeof memory, "/proc/self/fd/%d", copy);
        execve(memory, command, environment);
    }
    execve(loader, command, environment);
    fail("cannot be executed", loader);
    return 127;
}
