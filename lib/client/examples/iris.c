/* The Iris classifier of TensorFlow's tutorial in C, with its checkpoints kept by ckptd: the
 * network, the optimizer and the variable names of tf.estimator.DNNClassifier(hidden_units=[10,
 * 10], n_classes=3), so that either program goes on where the other stopped.  What a training
 * job has to do for its checkpoints is in main, `train` and `attach`; the rest is the network. */
#include "ckpt.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROWS 150
#define FEATURES 4
#define CLASSES 3
#define BATCH 100
#define HIDDEN_MAX 8   /* hidden layers */
#define UNITS_MAX 1024 /* of one layer */
#define VARIABLES_MAX (3 + 4 * (HIDDEN_MAX + 1))
#define NAME_MAX_BYTES 96
#define ACCUMULATOR_START 0.1F /* Keras's Adagrad */
#define EPSILON 1e-7F
#define PROGRESS_STEPS 100

struct row {
        float x[FEATURES];
        int y;
};

struct layer { /* kernel: in rows of out values, as TensorFlow has it */
        int64_t in, out;
        float *kernel, *bias, *kernel_sum, *bias_sum; /* the sums: Adagrad's accumulators */
        float *kernel_grad, *bias_grad;
        float *activation, *delta; /* of the whole batch */
};

struct net {
        int n_layers;
        struct layer layers[HIDDEN_MAX + 1];
        int64_t global_step;
        float decay, learning_rate;
};

struct variable { /* what ckpt_tensor points to */
        char name[NAME_MAX_BYTES];
        int64_t dims[2];
};

struct settings {
        const char *model_dir, *data, *socket;
        int64_t steps;
        float learning_rate; /* negative: not given */
        long sleep_ms;
        bool fresh;
        int n_hidden;
        int64_t hidden[HIDDEN_MAX];
};

struct state { /* the tensors of a run */
        struct net net;
        size_t n;
        struct variable variables[VARIABLES_MAX];
        struct ckpt_tensor tensors[VARIABLES_MAX];
};

/* ---- random numbers: a function of the step, so that a resumed run sees the batches that it
 * would have ---- */

static uint64_t next_random(uint64_t *state)
{
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static float next_uniform(uint64_t *state)
{
        return (float)(next_random(state) >> 40) / (float)(1 << 24);
}

/* BATCH rows out of ROWS, none twice. */
static void pick_batch(int64_t step, int picked[BATCH])
{
        uint64_t random = (uint64_t)step * 2654435761U + 1;
        int all[ROWS];

        for (int i = 0; i < ROWS; i++)
                all[i] = i;
        for (int i = 0; i < BATCH; i++) {
                int j = i + (int)(next_random(&random) % (uint64_t)(ROWS - i));
                int row = all[j];

                all[j] = all[i];
                picked[i] = all[i] = row;
        }
}

/* ---- the network ---- */

static float *new_floats(int64_t n, float value)
{
        float *p = malloc((size_t)n * sizeof(*p));

        if (!p) {
                perror("iris");
                exit(1);
        }
        for (int64_t i = 0; i < n; i++)
                p[i] = value;
        return p;
}

/* Kernels as glorot_uniform makes them. */
static void layer_init(struct layer *l, int64_t in, int64_t out, uint64_t *random)
{
        float limit = sqrtf(6.0F / (float)(in + out));

        *l = (struct layer){.in = in,
                            .out = out,
                            .kernel = new_floats(in * out, 0),
                            .bias = new_floats(out, 0),
                            .kernel_sum = new_floats(in * out, ACCUMULATOR_START),
                            .bias_sum = new_floats(out, ACCUMULATOR_START),
                            .kernel_grad = new_floats(in * out, 0),
                            .bias_grad = new_floats(out, 0),
                            .activation = new_floats(ROWS * out, 0),
                            .delta = new_floats(ROWS * out, 0)};
        for (int64_t i = 0; i < in * out; i++)
                l->kernel[i] = (2 * next_uniform(random) - 1) * limit;
}

static void net_init(struct net *net, const struct settings *s)
{
        uint64_t random = 42;
        int64_t in = FEATURES;

        net->n_layers = s->n_hidden + 1;
        net->learning_rate = s->learning_rate >= 0 ? s->learning_rate : 0.05F;
        for (int i = 0; i < net->n_layers; i++) {
                int64_t out = i < s->n_hidden ? s->hidden[i] : CLASSES;

                layer_init(&net->layers[i], in, out, &random);
                in = out;
        }
}

static void net_done(struct net *net)
{
        for (int i = 0; i < net->n_layers; i++) {
                struct layer *l = &net->layers[i];
                float *all[] = {l->kernel,      l->bias,      l->kernel_sum, l->bias_sum,
                                l->kernel_grad, l->bias_grad, l->activation, l->delta};

                for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++)
                        free(all[k]);
        }
}

static void layer_forward(struct layer *l, const float *x, int n, bool relu)
{
        for (int64_t b = 0; b < n; b++) {
                float *a = l->activation + b * l->out;

                memcpy(a, l->bias, (size_t)l->out * sizeof(*a));
                for (int64_t i = 0; i < l->in; i++)
                        for (int64_t o = 0; o < l->out; o++)
                                a[o] += x[b * l->in + i] * l->kernel[i * l->out + o];
                for (int64_t o = 0; relu && o < l->out; o++)
                        a[o] = a[o] > 0 ? a[o] : 0;
        }
}

static const float *net_forward(struct net *net, const float *x, int n)
{
        for (int i = 0; i < net->n_layers; i++) {
                layer_forward(&net->layers[i], x, n, i < net->n_layers - 1);
                x = net->layers[i].activation;
        }
        return x;
}

/* Softmax cross entropy of one row; probabilities to p when it is wanted. */
static float row_loss(const float *logits, int y, float *p)
{
        float max = logits[0], sum = 0;

        for (int k = 1; k < CLASSES; k++)
                max = logits[k] > max ? logits[k] : max;
        for (int k = 0; k < CLASSES; k++)
                sum += expf(logits[k] - max);
        for (int k = 0; p && k < CLASSES; k++)
                p[k] = expf(logits[k] - max) / sum;
        return logf(sum) + max - logits[y];
}

/* From l->delta: the gradients, and the delta of the layer below (its activation is x), where
 * there is one. */
static void layer_backward(struct layer *l, const float *x, int n, float *below)
{
        memset(l->kernel_grad, 0, (size_t)(l->in * l->out) * sizeof(float));
        memset(l->bias_grad, 0, (size_t)l->out * sizeof(float));
        for (int64_t b = 0; b < n; b++) {
                const float *delta = l->delta + b * l->out;

                for (int64_t o = 0; o < l->out; o++)
                        l->bias_grad[o] += delta[o];
                for (int64_t i = 0; i < l->in; i++) {
                        float sum = 0;

                        for (int64_t o = 0; o < l->out; o++) {
                                l->kernel_grad[i * l->out + o] += x[b * l->in + i] * delta[o];
                                sum += l->kernel[i * l->out + o] * delta[o];
                        }
                        if (below) /* the derivative of ReLU */
                                below[b * l->in + i] = x[b * l->in + i] > 0 ? sum : 0;
                }
        }
}

static void adagrad(float *value, float *sum, const float *grad, int64_t n, float rate)
{
        for (int64_t i = 0; i < n; i++) {
                sum[i] += grad[i] * grad[i];
                value[i] -= rate * grad[i] / (sqrtf(sum[i]) + EPSILON);
        }
}

/* One step; the loss is the mean over the batch. */
static float net_train(struct net *net, const struct row *rows)
{
        struct layer *last = &net->layers[net->n_layers - 1];
        float x[BATCH * FEATURES], loss = 0;
        int picked[BATCH];
        float rate = net->learning_rate / (1 + net->decay * (float)net->global_step);

        pick_batch(net->global_step, picked);
        for (int b = 0; b < BATCH; b++)
                memcpy(x + (size_t)b * FEATURES, rows[picked[b]].x, sizeof(rows->x));
        net_forward(net, x, BATCH);
        for (int b = 0; b < BATCH; b++) {
                float *delta = last->delta + (size_t)b * CLASSES;
                int y = rows[picked[b]].y;

                loss += row_loss(last->activation + (size_t)b * CLASSES, y, delta);
                for (int k = 0; k < CLASSES; k++)
                        delta[k] = (delta[k] - (float)(k == y)) / BATCH;
        }
        for (int i = net->n_layers - 1; i >= 0; i--)
                layer_backward(&net->layers[i], i > 0 ? net->layers[i - 1].activation : x, BATCH,
                               i > 0 ? net->layers[i - 1].delta : NULL);
        for (int i = 0; i < net->n_layers; i++) {
                struct layer *l = &net->layers[i];

                adagrad(l->kernel, l->kernel_sum, l->kernel_grad, l->in * l->out, rate);
                adagrad(l->bias, l->bias_sum, l->bias_grad, l->out, rate);
        }
        net->global_step++;
        return loss / BATCH;
}

/* Over all rows. */
static void net_evaluate(struct net *net, const struct row *rows, float *ret_accuracy,
                         float *ret_loss)
{
        float x[ROWS * FEATURES], loss = 0;
        const float *logits;
        int right = 0;

        for (int i = 0; i < ROWS; i++)
                memcpy(x + (size_t)i * FEATURES, rows[i].x, sizeof(rows->x));
        logits = net_forward(net, x, ROWS);
        for (int i = 0; i < ROWS; i++, logits += CLASSES) {
                int best = 0;

                for (int k = 1; k < CLASSES; k++)
                        best = logits[k] > logits[best] ? k : best;
                right += best == rows[i].y;
                loss += row_loss(logits, rows[i].y, NULL);
        }
        *ret_accuracy = (float)right / ROWS;
        *ret_loss = loss / ROWS;
}

/* ---- the variables by TensorFlow's names ---- */

static void add(struct state *s, const char *name, void *data, int n_dims, const int64_t dims[2])
{
        struct variable *v = &s->variables[s->n];

        snprintf(v->name, sizeof(v->name), "%s", name);
        memcpy(v->dims, dims, sizeof(v->dims));
        s->tensors[s->n++] = (struct ckpt_tensor){.size = sizeof(struct ckpt_tensor),
                                                  .name = v->name,
                                                  .dtype = CKPT_FLOAT32,
                                                  .n_dims = n_dims,
                                                  .dims = v->dims,
                                                  .data = data};
}

static void add_layer(struct state *s, int i)
{
        struct layer *l = &s->net.layers[i];
        char layer[32], name[NAME_MAX_BYTES];
        const int64_t kernel[2] = {l->in, l->out}, bias[2] = {l->out, 0};

        if (i < s->net.n_layers - 1)
                snprintf(layer, sizeof(layer), "dnn/hiddenlayer_%d", i);
        else
                snprintf(layer, sizeof(layer), "dnn/logits");
        snprintf(name, sizeof(name), "%s/kernel", layer);
        add(s, name, l->kernel, 2, kernel);
        snprintf(name, sizeof(name), "%s/bias", layer);
        add(s, name, l->bias, 1, bias);
        snprintf(name, sizeof(name), "training/Adagrad/%s/kernel/accumulator", layer);
        add(s, name, l->kernel_sum, 2, kernel);
        snprintf(name, sizeof(name), "training/Adagrad/%s/bias/accumulator", layer);
        add(s, name, l->bias_sum, 1, bias);
}

static void state_init(struct state *s, const struct settings *settings)
{
        const int64_t scalar[2] = {0, 0};

        net_init(&s->net, settings);
        add(s, "global_step", &s->net.global_step, 0, scalar);
        s->tensors[0].dtype = CKPT_INT64;
        add(s, "training/Adagrad/decay", &s->net.decay, 0, scalar);
        add(s, "training/Adagrad/learning_rate", &s->net.learning_rate, 0, scalar);
        for (int i = 0; i < s->net.n_layers; i++)
                add_layer(s, i);
}

/* ---- data and options ---- */

/* The file's columns are SepalLength, SepalWidth, PetalLength, PetalWidth; TensorFlow orders by
 * name. */
static int read_rows(const char *path, struct row *rows)
{
        FILE *f = fopen(path, "re");
        char line[256];
        int n = 0;

        if (!f || !fgets(line, sizeof(line), f)) {
                fprintf(stderr, "iris: %s: %s\n", path, strerror(errno));
                if (f)
                        fclose(f);
                return -1;
        }
        while (n < ROWS && fgets(line, sizeof(line), f)) {
                struct row *r = &rows[n];

                if (sscanf(line, "%f,%f,%f,%f,%d", &r->x[2], &r->x[3], &r->x[0], &r->x[1], &r->y) !=
                            5 ||
                    r->y < 0 || r->y >= CLASSES)
                        break;
                n++;
        }
        fclose(f);
        if (n < ROWS)
                fprintf(stderr, "iris: %s:%d: expected four numbers and a species of 0 to 2\n",
                        path, n + 2);
        return n < ROWS ? -1 : 0;
}

/* iris.csv beside the program. */
static const char *default_data(char path[PATH_MAX])
{
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof("iris.csv"));
        char *slash;

        path[n > 0 ? n : 0] = '\0';
        slash = strrchr(path, '/');
        strcpy(slash ? slash + 1 : path, "iris.csv");
        return path;
}

static int parse_hidden(const char *text, struct settings *s)
{
        s->n_hidden = 0;
        while (*text) {
                char *end;
                long units = strtol(text, &end, 10);

                if (end == text || units < 1 || units > UNITS_MAX || s->n_hidden == HIDDEN_MAX ||
                    (*end && *end != ','))
                        return -1;
                s->hidden[s->n_hidden++] = units;
                text = *end ? end + 1 : end;
        }
        return s->n_hidden > 0 ? 0 : -1;
}

static int usage(FILE *f, int code)
{
        fprintf(f, "Usage: iris [OPTION]…\n"
                   "Trains the Iris classifier; ckptd keeps its checkpoints.\n\n"
                   "  --model-dir DIR        where checkpoints live (a new directory)\n"
                   "  --steps N              the last step (1000)\n"
                   "  --learning-rate RATE   of Adagrad (0.05, or the checkpoint's)\n"
                   "  --hidden-units A,B,…   units of the hidden layers (10,10)\n"
                   "  --data FILE            the flowers (iris.csv beside the program)\n"
                   "  --socket PATH          of ckptd\n"
                   "  --fresh                start anew, whatever is there\n"
                   "  --sleep-ms N           wait after each step, to watch it\n"
                   "  --help\n");
        return code;
}

/* 0: go on; 1: help was given; -1: wrong. */
static int parse_options(int argc, char **argv, struct settings *s)
{
        enum { MODEL_DIR = 1, STEPS, RATE, HIDDEN, DATA, SOCKET, FRESH, SLEEP, HELP };
        static const struct option options[] = {
                {"model-dir", required_argument, NULL, MODEL_DIR},
                {"steps", required_argument, NULL, STEPS},
                {"learning-rate", required_argument, NULL, RATE},
                {"hidden-units", required_argument, NULL, HIDDEN},
                {"data", required_argument, NULL, DATA},
                {"socket", required_argument, NULL, SOCKET},
                {"fresh", no_argument, NULL, FRESH},
                {"sleep-ms", required_argument, NULL, SLEEP},
                {"help", no_argument, NULL, HELP},
                {NULL, 0, NULL, 0},
        };
        const char *texts[HELP + 1] = {NULL};
        char *end = "", *rest = "";
        int o;

        while ((o = getopt_long(argc, argv, "", options, NULL)) > 0 && o <= HELP)
                texts[o] = optarg ? optarg : "";
        if (o != -1 || optind < argc)
                return -1;
        if (texts[HELP])
                return 1;
        s->model_dir = texts[MODEL_DIR];
        s->data = texts[DATA];
        s->socket = texts[SOCKET];
        s->fresh = texts[FRESH] != NULL;
        if (texts[STEPS])
                s->steps = strtoll(texts[STEPS], &end, 10);
        if (texts[RATE])
                s->learning_rate = strtof(texts[RATE], &rest);
        if (*end || *rest || s->steps < 0 || (texts[RATE] && !(s->learning_rate > 0)))
                return -1;
        if (texts[SLEEP])
                s->sleep_ms = strtol(texts[SLEEP], &end, 10);
        return *end || s->sleep_ms < 0 ||
                               parse_hidden(texts[HIDDEN] ? texts[HIDDEN] : "10,10", s) < 0
                       ? -1
                       : 0;
}

/* ---- the job ---- */

/* A text of several lines begins on one of its own. */
static void complain(const struct ckpt *c, const char *what)
{
        const char *text = ckpt_error(c);

        fprintf(stderr, "iris: %s:%s%s\n", what, strchr(text, '\n') ? "\n" : " ", text);
}

static int attach(struct ckpt **ret, const struct settings *s, struct state *state)
{
        struct ckpt_options o = {.size = sizeof(o),
                                 .model_dir = s->model_dir,
                                 .socket = s->socket,
                                 .fresh = s->fresh};
        int64_t step = 0;
        int r = ckpt_attach(ret, &o, state->tensors, state->n);

        if (r < 0) {
                complain(*ret, "attach");
                return r;
        }
        printf("model directory %s\n", ckpt_model_dir(*ret));
        if (*ckpt_messages(*ret))
                printf("%s\n", ckpt_messages(*ret));
        fflush(stdout);
        r = s->fresh ? 0 : ckpt_restore(*ret, &step);
        if (r < 0)
                complain(*ret, "restore");
        else if (r == 0)
                printf("fresh run\n");
        else
                printf("restored step %lld\n", (long long)step);
        if (r > 0 && s->learning_rate >= 0)
                state->net.learning_rate = s->learning_rate;
        fflush(stdout);
        return r < 0 ? r : 0;
}

/* Tells ckptd the step; a failure is told, and training goes on. */
static void tell_step(struct ckpt *c, int64_t step)
{
        int r = ckpt_step(c, step);

        if (r < 0)
                complain(c, "save");
        else if (r > 0)
                printf("handed over step %lld\n", (long long)step);
        if (r != 0)
                fflush(stdout);
}

static void train(struct ckpt *c, const struct settings *s, struct net *net, const struct row *rows)
{
        struct timespec pause = {s->sleep_ms / 1000, s->sleep_ms % 1000 * 1000000};

        if (net->global_step == 0)
                tell_step(c, 0);
        while (net->global_step < s->steps && !ckpt_should_stop(c, net->global_step)) {
                float loss = net_train(net, rows);

                if (net->global_step % PROGRESS_STEPS == 0) {
                        printf("step %lld loss %.6f\n", (long long)net->global_step, (double)loss);
                        fflush(stdout);
                }
                tell_step(c, net->global_step);
                if (s->sleep_ms > 0)
                        nanosleep(&pause, NULL);
        }
}

int main(int argc, char **argv)
{
        struct settings settings = {.steps = 1000, .learning_rate = -1};
        struct state state = {.n = 0};
        struct row rows[ROWS];
        char data[PATH_MAX];
        struct ckpt *c = NULL;
        float accuracy, loss;
        int r = parse_options(argc, argv, &settings);

        if (r != 0)
                return r > 0 ? usage(stdout, 0) : usage(stderr, 2);
        if (read_rows(settings.data ? settings.data : default_data(data), rows) < 0)
                return 1;
        state_init(&state, &settings);
        r = attach(&c, &settings, &state);
        if (r >= 0) {
                train(c, &settings, &state.net, rows);
                net_evaluate(&state.net, rows, &accuracy, &loss);
                r = ckpt_finish(c, state.net.global_step);
                if (r < 0)
                        complain(c, "finish");
                printf("finished at step %lld\naccuracy %.4f loss %.6f\n",
                       (long long)state.net.global_step, (double)accuracy, (double)loss);
        }
        ckpt_free(c);
        net_done(&state.net);
        return r < 0 ? 1 : 0;
}
