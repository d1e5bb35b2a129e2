// Java's own single-object encoding, for tests/avro/test_java.py. Arguments: the schema's file.
// Each line in, "encode <order as JSON>" or "decode <hex>", gives one line out: the hex, or the order as JSON.

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.BinaryMessageEncoder;

public class SingleObject {
    public static void main(String[] arguments) throws Exception {
        Schema schema = new Schema.Parser().parse(new File(arguments[0]));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ", 2);
            String answer = parts[0].equals("encode") ? encode(schema, parts[1]) : decode(schema, parts[1]);
            System.out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
        }
        System.out.flush();
    }

    private static String encode(Schema schema, String json) throws Exception {
        GenericRecord order = new GenericDatumReader<GenericRecord>(schema)
            .read(null, DecoderFactory.get().jsonDecoder(schema, json));
        ByteBuffer bytes = new BinaryMessageEncoder<GenericRecord>(GenericData.get(), schema).encode(order);
        byte[] value = new byte[bytes.remaining()];
        bytes.get(value);
        return HexFormat.of().formatHex(value);
    }

    private static String decode(Schema schema, String hex) throws Exception {
        GenericRecord order = new BinaryMessageDecoder<GenericRecord>(GenericData.get(), schema)
            .decode(HexFormat.of().parseHex(hex));
        ByteArrayOutputStream json = new ByteArrayOutputStream();
        JsonEncoder encoder = EncoderFactory.get().jsonEncoder(schema, json, false);
        new GenericDatumWriter<GenericRecord>(schema).write(order, encoder);
        encoder.flush();
        return json.toString(StandardCharsets.UTF_8);
    }
}
